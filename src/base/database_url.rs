//! Reads the URLs of network databases in the same way as libpq and the clients of MariaDB. Every parameter is either
//! honoured or refused by its name, because a parameter that is silently ignored may be the one that asks for
//! encryption. Error messages contain no values from the URL.
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use std::path::PathBuf;
use std::time::Duration;

/// How the connection is encrypted, from the least strict mode to the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    Disable,
    /// Encrypted if the server supports it.
    Prefer,
    /// Encrypted, but the server's identity is not verified.
    Require,
    /// The server's certificate must come from a known authority, but may be for any host name.
    VerifyCa,
    VerifyFull,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Network(String),
    /// A Unix socket. The path is that of its folder for PostgreSQL, and that of the socket itself for MariaDB.
    Socket(PathBuf),
}

/// Which kind of server to use if the URL names several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionAttributes {
    Any,
    ReadWrite,
    ReadOnly,
}

/// The options that only the URLs of PostgreSQL have.
#[derive(Debug, Default)]
pub struct PostgresOptions {
    pub application_name: Option<String>,
    pub connect_timeout: Option<Duration>,
    /// Options for the server: `-c name=value`.
    pub options: Option<String>,
    pub session_attributes: Option<SessionAttributes>,
    pub keepalives: Option<bool>,
    pub keepalives_idle: Option<Duration>,
    pub keepalives_interval: Option<Duration>,
    pub keepalives_count: Option<u32>,
    pub tcp_user_timeout: Option<Duration>,
}

/// The location of a network database, and how to connect to it. `Debug` shows no password.
#[derive(Debug)]
pub struct NetworkUrl {
    /// The hosts and ports in the order in which they are tried. MariaDB has one. Either all of them are sockets or
    /// none is.
    pub hosts: Vec<(Host, Option<u16>)>,
    pub user: Option<String>,
    pub password: Option<SecretString>,
    pub database: String,
    /// The mode that the URL asks for, or `None` if it names none. Sockets have no TLS: see [`Self::has_sockets`].
    pub tls: Option<TlsMode>,
    /// The file with the certificates of the authorities that may have issued the server's certificate.
    pub ca_file: Option<PathBuf>,
    pub postgres: PostgresOptions,
}

const ADVICE: &str = "characters such as @ : / # ? % in a password must be percent-encoded";

/// Parameters that libpq or the clients of MariaDB know, but that are refused here, and the reason.
const NOT_SUPPORTED: [(&[&str], &str); 7] = [
    (&["hostaddr"], "is not supported: put the address into host"),
    (&["service", "servicefile", "passfile"], "names a file that is not read here: put what it says into the URL"),
    (
        &["sslcert", "sslkey", "sslpassword", "sslcertmode", "ssl_cert", "ssl_key"],
        "is not supported: there are no client certificates",
    ),
    (&["sslcrl", "sslcrldir"], "is not supported: revocation lists are not read"),
    (&["gssencmode", "krbsrvname", "gsslib", "gssdelegation"], "is not supported: there is no GSSAPI"),
    (&["replication"], "is not supported: it is for copying a server"),
    (
        &[
            "channel_binding",
            "require_auth",
            "requirepeer",
            "sslnegotiation",
            "sslsni",
            "sslcompression",
            "ssl_min_protocol_version",
            "ssl_max_protocol_version",
            "load_balance_hosts",
            "fallback_application_name",
        ],
        "is not supported",
    ),
];

impl NetworkUrl {
    /// Reads what follows `postgres://`.
    pub fn postgres(rest: &str) -> Result<Self, String> {
        let Parts { userinfo, hosts, database, mut parameters } = Parts::of(rest)?;
        let (user, password) = credentials(userinfo)?;
        let user = one(user, parameters.take(&["user"])?, "the user")?;
        let password = one(password, parameters.take(&["password"])?, "the password")?;
        let database = one(database, parameters.take(&["dbname"])?, "the database")?;
        let hosts = postgres_hosts(hosts, parameters.take(&["host"])?, parameters.take(&["port"])?)?;
        let (tls, ca_file) = parameters.tls()?;
        let postgres = parameters.postgres_options()?;
        Self { hosts, user, password: password.map(Into::into), database: named(database)?, tls, ca_file, postgres }
            .checked(parameters)
    }

    /// Reads what follows `mysql://`.
    pub fn mysql(rest: &str) -> Result<Self, String> {
        let Parts { userinfo, hosts, database, mut parameters } = Parts::of(rest)?;
        let (user, password) = credentials(userinfo)?;
        let (host, port) = host_and_port(hosts)?;
        let host = decoded(host)?;
        // Clients may write a host in addition to a socket. It must then be the local host.
        let host = match (parameters.take(&["socket", "unix_socket"])?, host) {
            (Some(socket), host) if matches!(&*host, "" | "localhost" | "127.0.0.1") => socket_at(&socket)?,
            (Some(_), _) => return Err("names a host and a socket: keep one".to_owned()),
            (None, host) if host.starts_with('/') => socket_at(&host)?,
            (None, host) if host.is_empty() => return Err("must name the host, or a socket by ?socket=".to_owned()),
            (None, host) if host.contains(',') => return Err("takes one host".to_owned()),
            (None, host) => Host::Network(host),
        };
        if let Some(charset) = parameters.take(&["charset"])?
            && !charset.eq_ignore_ascii_case("utf8mb4")
        {
            return Err("must have no charset but utf8mb4".to_owned());
        }
        let (tls, ca_file) = parameters.tls()?;
        let hosts = vec![(host, port)];
        let postgres = PostgresOptions::default();
        Self { hosts, user, password: password.map(Into::into), database: named(database)?, tls, ca_file, postgres }
            .checked(parameters)
    }

    /// Fails if a parameter was not read.
    fn checked(self, parameters: Parameters) -> Result<Self, String> {
        parameters.end()?;
        Ok(self)
    }

    /// Whether the server is reached by sockets. They have no TLS and need none: the connection stays on this machine.
    pub fn has_sockets(&self) -> bool {
        self.hosts.iter().any(|(host, _)| matches!(host, Host::Socket(_)))
    }
}

/// The URL with `***` in place of passwords, so that it can be shown.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "***".to_owned() };
    let (before, query) = rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
    let (authority, path) = before.split_at(before.find('/').unwrap_or(before.len()));
    let authority = match authority.rsplit_once('@') {
        Some((userinfo, hosts)) => match userinfo.split_once(':') {
            Some((user, _)) => format!("{user}:***@{hosts}"),
            None => authority.to_owned(),
        },
        None => authority.to_owned(),
    };
    let hidden = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("pass") => format!("{name}=***"),
        _ => pair.to_owned(),
    };
    let query = query.map(|query| format!("?{}", query.split('&').map(hidden).collect::<Vec<_>>().join("&")));
    format!("{scheme}://{authority}{path}{}", query.unwrap_or_default())
}

/// The parts of a URL. The parameters and the database are percent-decoded, the other parts are still encoded.
struct Parts<'a> {
    userinfo: Option<&'a str>,
    hosts: &'a str,
    database: Option<String>,
    parameters: Parameters,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, String> {
        if rest.contains('#') {
            return Err("has a #: in a password it must be percent-encoded, as %23".to_owned());
        }
        if rest.contains(char::is_control) {
            return Err("has a control character in it".to_owned());
        }
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = before.split_once('/').unwrap_or((before, ""));
        let (userinfo, hosts) = match authority.rsplit_once('@') {
            Some((userinfo, hosts)) => (Some(userinfo), hosts),
            None => (None, authority),
        };
        let database = Some(decoded(path.trim_end_matches('/'))?).filter(|name| !name.is_empty());
        Ok(Self { userinfo, hosts, database, parameters: Parameters::of(query)? })
    }
}

/// Decodes percent-encoding. The result must be UTF-8 without NUL.
fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| format!("is not in UTF-8; {ADVICE}"))?;
    match decoded.contains('\0') {
        true => Err("has a NUL in it".to_owned()),
        false => Ok(decoded.into_owned()),
    }
}

/// The user and the password, each `None` if it is absent or empty.
fn credentials(userinfo: Option<&str>) -> Result<(Option<String>, Option<String>), String> {
    let Some(userinfo) = userinfo else { return Ok((None, None)) };
    let (user, password) = userinfo.split_once(':').map_or((userinfo, None), |(user, rest)| (user, Some(rest)));
    let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(decoded).transpose();
    Ok((given(Some(user))?, given(password)?))
}

/// The value from before the `?` or from the parameter after it. Fails if both give one.
fn one(before: Option<String>, after: Option<String>, what: &str) -> Result<Option<String>, String> {
    match (before, after) {
        (Some(_), Some(_)) => Err(format!("names {what} twice")),
        (before, after) => Ok(before.or(after)),
    }
}

fn named(database: Option<String>) -> Result<String, String> {
    let database = database.filter(|name| !name.is_empty());
    database.ok_or_else(|| "must end in the database's name: postgres://user:password@host/name".to_owned())
}

fn port(text: &str) -> Result<Option<u16>, String> {
    match text {
        "" => Ok(None),
        text => match text.parse() {
            Ok(port @ 1..) => Ok(Some(port)),
            _ => Err(format!("has no port from 1 to 65535 where one is expected; {ADVICE}")),
        },
    }
}

/// The host, still encoded, and its port. An IPv6 address is written in brackets.
fn host_and_port(text: &str) -> Result<(&str, Option<u16>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or_else(|| format!("has a [ without its ]; {ADVICE}"))?;
        return match after.strip_prefix(':') {
            Some(number) => Ok((address, port(number)?)),
            None if after.is_empty() => Ok((address, None)),
            None => Err(format!("has something between the host and its port; {ADVICE}")),
        };
    }
    match text.split_once(':') {
        Some((host, number)) => Ok((host, port(number)?)),
        None => Ok((text, None)),
    }
}

fn socket_at(path: &str) -> Result<Host, String> {
    match path.starts_with('/') {
        true => Ok(Host::Socket(path.into())),
        false => Err("must name a socket by its absolute path".to_owned()),
    }
}

/// The hosts from before the `?`, or those from the parameters `host` and `port`.
fn postgres_hosts(
    before: &str,
    hosts: Option<String>,
    ports: Option<String>,
) -> Result<Vec<(Host, Option<u16>)>, String> {
    let mut found: Vec<(String, Option<u16>)> = vec![];
    for host in before.split(',').filter(|_| !before.is_empty()) {
        let (host, port) = host_and_port(host)?;
        found.push((decoded(host)?, port));
    }
    let is_said_before = found.iter().any(|(host, _)| !host.is_empty());
    if let Some(hosts) = hosts {
        if is_said_before {
            return Err("names the host twice".to_owned());
        }
        let same = |at: usize| found.get(at).and_then(|(_, port)| *port);
        found = hosts.split(',').enumerate().map(|(at, host)| (host.to_owned(), same(at))).collect();
    }
    if let Some(ports) = ports {
        if found.iter().any(|(_, port)| port.is_some()) {
            return Err("names the port twice".to_owned());
        }
        let ports: Vec<_> = ports.split(',').map(port).collect::<Result<_, _>>()?;
        if ports.len() != 1 && ports.len() != found.len() {
            return Err("must have one port, or one for each host".to_owned());
        }
        for (at, (_, port)) in found.iter_mut().enumerate() {
            *port = ports.get(at).or(ports.first()).copied().flatten();
        }
    }
    if found.is_empty() || found.iter().any(|(host, _)| host.is_empty()) {
        return Err("must name the host, or the folder of a socket by ?host=/run/postgresql".to_owned());
    }
    if found.iter().any(|(host, _)| host.starts_with('@')) {
        return Err("must not name an abstract socket: they are not supported".to_owned());
    }
    let sockets = found.iter().filter(|(host, _)| host.starts_with('/')).count();
    if sockets != 0 && sockets != found.len() {
        return Err("must name sockets or hosts, not both".to_owned());
    }
    let host = |host: String| if host.starts_with('/') { Host::Socket(host.into()) } else { Host::Network(host) };
    Ok(found.into_iter().map(|(name, port)| (host(name), port)).collect())
}

/// The parameters after the `?` that were not read yet.
struct Parameters {
    /// Names and values. Names are in lower case and with underscores: `ssl-mode` becomes `ssl_mode`.
    left: Vec<(String, String)>,
    /// Whether a part of an unencoded password may be among them. If so, error messages contain no names either.
    may_hold_password: bool,
}

impl Parameters {
    fn of(query: &str) -> Result<Self, String> {
        let mut left = vec![];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            left.push((decoded(name)?.to_ascii_lowercase().replace('-', "_"), decoded(value)?));
        }
        Ok(Self { left, may_hold_password: query.contains('@') })
    }

    /// Removes the value with one of these names and returns it. Fails if there are two.
    fn take(&mut self, names: &[&str]) -> Result<Option<String>, String> {
        let at = |left: &[(String, String)]| left.iter().position(|(name, _)| names.contains(&&**name));
        let Some(first) = at(&self.left) else { return Ok(None) };
        let (name, value) = self.left.remove(first);
        match at(&self.left) {
            Some(_) => Err(format!("has {name} twice")),
            None => Ok(Some(value)),
        }
    }

    fn boolean(&mut self, names: &[&'static str]) -> Result<Option<bool>, String> {
        let is_given = |name: &&&str| self.left.iter().any(|(given, _)| given == **name);
        let name = names.iter().find(is_given).copied().unwrap_or_default();
        match self.take(names)?.as_deref() {
            None => Ok(None),
            Some("true" | "1" | "yes" | "on") => Ok(Some(true)),
            Some("false" | "0" | "no" | "off") => Ok(Some(false)),
            Some(_) => Err(format!("must have true or false as {name}")),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<u32>, String> {
        const MAX: u32 = 86_400_000;
        let Some(value) = self.take(&[name])? else { return Ok(None) };
        match value.parse() {
            Ok(number @ 1..=MAX) => Ok(Some(number)),
            _ => Err(format!("must have a whole number from 1 to {MAX} as {name}")),
        }
    }

    fn seconds(&mut self, name: &str) -> Result<Option<Duration>, String> {
        Ok(self.number(name)?.map(|seconds| Duration::from_secs(seconds.into())))
    }

    /// The mode and the file that all parameters about TLS ask for together. The strictest mode applies. Fails if one
    /// parameter turns TLS off and another asks for it.
    fn tls(&mut self) -> Result<(Option<TlsMode>, Option<PathBuf>), String> {
        let mut asked: Vec<TlsMode> = vec![];
        if let Some(mode) = self.take(&["sslmode", "ssl_mode"])? {
            asked.push(match mode.to_ascii_lowercase().replace('_', "-").as_str() {
                "disable" | "disabled" => TlsMode::Disable,
                "allow" | "prefer" | "preferred" => TlsMode::Prefer,
                "require" | "required" => TlsMode::Require,
                "verify-ca" => TlsMode::VerifyCa,
                "verify-full" | "verify-identity" => TlsMode::VerifyFull,
                _ => {
                    let known = "disable, prefer, require, verify-ca or verify-full";
                    return Err(format!("has an unknown sslmode: it must be {known}"));
                }
            });
        }
        for (names, mode) in [
            (&["ssl", "require_ssl", "requiressl", "usessl"][..], TlsMode::Require),
            (&["verify_ca"][..], TlsMode::VerifyCa),
            (&["verify_identity", "ssl_verify_server_cert"][..], TlsMode::VerifyFull),
        ] {
            match self.boolean(names)? {
                Some(true) => asked.push(mode),
                Some(false) if mode == TlsMode::Require => asked.push(TlsMode::Disable),
                _ => {}
            }
        }
        let ca_file = self.take(&["sslrootcert", "ssl_ca"])?;
        let is_of_system = ca_file.as_deref() == Some("system");
        if is_of_system {
            // As in libpq, because anybody can get a certificate from these authorities.
            asked.push(TlsMode::VerifyFull);
        }
        let (least, most) = (asked.iter().min(), asked.iter().max());
        if least == Some(&TlsMode::Disable) && most > Some(&TlsMode::Disable) {
            return Err("turns TLS off and asks for it".to_owned());
        }
        Ok((most.copied(), ca_file.filter(|_| !is_of_system).map(PathBuf::from)))
    }

    fn postgres_options(&mut self) -> Result<PostgresOptions, String> {
        if let Some(encoding) = self.take(&["client_encoding"])?
            && !["utf8", "utf-8", "auto"].contains(&&*encoding.to_ascii_lowercase())
        {
            return Err("must have no client_encoding but UTF8".to_owned());
        }
        let session_attributes = match self.take(&["target_session_attrs"])?.as_deref() {
            None => None,
            Some("any") => Some(SessionAttributes::Any),
            Some("read-write") => Some(SessionAttributes::ReadWrite),
            Some("read-only") => Some(SessionAttributes::ReadOnly),
            Some(_) => return Err("must have any, read-write or read-only as target_session_attrs".to_owned()),
        };
        Ok(PostgresOptions {
            application_name: self.take(&["application_name"])?,
            connect_timeout: self.seconds("connect_timeout")?,
            options: self.take(&["options"])?,
            session_attributes,
            keepalives: self.boolean(&["keepalives"])?,
            keepalives_idle: self.seconds("keepalives_idle")?,
            keepalives_interval: self.seconds("keepalives_interval")?,
            keepalives_count: self.number("keepalives_count")?,
            tcp_user_timeout: self.number("tcp_user_timeout")?.map(|ms| Duration::from_millis(ms.into())),
        })
    }

    /// Fails if a parameter is left.
    fn end(self) -> Result<(), String> {
        let Some((name, _)) = self.left.first() else { return Ok(()) };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if self.may_hold_password || name.len() > 40 || !name.chars().all(is_name) {
            return Err(format!("has an unknown parameter after its ?; {ADVICE}"));
        }
        match NOT_SUPPORTED.iter().find(|(names, _)| names.contains(&&**name)) {
            Some((_, why)) => Err(format!("has the parameter {name}, which {why}")),
            None => Err(format!("has an unknown parameter: {name}")),
        }
    }
}

#[cfg(test)]
mod tests;
