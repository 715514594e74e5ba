//! Joins `DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD` or `USE_SQLITE` to a database URL.
use super::declare::Setting;
use super::layers::{self, Entry};
use super::names;
use super::problem::Problem;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::BTreeMap;

/// The URL that `USE_SQLITE=true` means. It is also the default of `database.url`.
const SQLITE_URL: &str = "sqlite://{data_dir}/bizcenter.db";

/// Variables that people set instead of a database URL. They are no settings of their own: [`join`] converts them into
/// one.
pub(super) static DATABASE_PARTS: [Setting; 6] = [
    Setting::part("database.parts.host", &["DB_HOST"]),
    Setting::part("database.parts.port", &["DB_PORT"]),
    Setting::part("database.parts.name", &["DB_NAME"]),
    Setting::part("database.parts.user", &["DB_USER"]),
    Setting::secret_part("database.parts.password", &["DB_PASSWORD"]),
    Setting::part("database.parts.use_sqlite", &["USE_SQLITE"]),
];

/// Removes the parts from both layers and adds the URL that they make together. The parts in the environment override
/// those in `.env` one by one: the host may be in the file and the password in the environment.
pub(super) fn join(dotenv: &mut Vec<Entry>, env: &mut Vec<Entry>, problems: &mut Vec<Problem>) {
    let mut parts = Parts::default();
    let in_dotenv = parts.take_from(dotenv);
    let layer = match (parts.take_from(env), in_dotenv) {
        (true, _) => env,
        (false, true) => dotenv,
        (false, false) => return,
    };
    match parts.url() {
        Ok(None) => {}
        Ok(Some(url)) if url == SQLITE_URL && layer.iter().any(is_sqlite_url) => {}
        Ok(Some(url)) => {
            let Some(setting) = names::find("database.url") else { return };
            layers::add(layer, Entry { setting, origin: parts.origin(), value: url.into() }, problems);
        }
        Err(message) => {
            problems.push(Problem { setting: "database.url".to_owned(), origin: Some(parts.origin()), message });
        }
    }
}

fn is_sqlite_url(entry: &Entry) -> bool {
    entry.setting.path == "database.url" && entry.value.as_str().is_some_and(|url| url.starts_with("sqlite"))
}

/// The parts that are set, by their last key.
#[derive(Default)]
struct Parts(BTreeMap<&'static str, Entry>);

impl Parts {
    /// Moves the parts out of a layer. Returns whether there were any.
    fn take_from(&mut self, layer: &mut Vec<Entry>) -> bool {
        let before = layer.len();
        for entry in std::mem::take(layer) {
            match entry.setting.path.strip_prefix("database.parts.") {
                Some(part) => drop(self.0.insert(part, entry)),
                None => layer.push(entry),
            }
        }
        layer.len() < before
    }

    fn get(&self, part: &str) -> Option<&str> {
        self.0.get(part)?.value.as_str()
    }

    fn origin(&self) -> String {
        let origins: Vec<&str> = self.0.values().map(|entry| entry.origin.as_str()).collect();
        origins.join(", ")
    }

    /// The URL, or `None` if the parts only say that the database is not SQLite.
    fn url(&self) -> Result<Option<String>, String> {
        if self.use_sqlite()? {
            return Ok(Some(SQLITE_URL.to_owned()));
        }
        if self.0.keys().all(|part| *part == "use_sqlite") {
            return Ok(None);
        }
        let host = self.get("host").ok_or("DB_HOST is missing")?;
        let name = self.get("name").ok_or("DB_NAME is missing")?;
        let (scheme, port) = self.scheme_and_port()?;
        let credentials = self.credentials()?;
        let (name, path) = (encoded(name), encoded(host));
        Ok(Some(match (host.starts_with('/'), scheme) {
            (true, "mysql") => format!("{scheme}://{credentials}/{name}?socket={path}"),
            // libpq names the folder of a socket in this way. The port is a part of the socket's name.
            (true, _) => format!("{scheme}://{credentials}{port}/{name}?host={path}"),
            (false, _) if host.contains(':') => format!("{scheme}://{credentials}[{host}]{port}/{name}"),
            (false, _) => format!("{scheme}://{credentials}{host}{port}/{name}"),
        }))
    }

    fn use_sqlite(&self) -> Result<bool, String> {
        let Some(entry) = self.0.get("use_sqlite") else { return Ok(false) };
        entry.value.to_bool_lossy().ok_or_else(|| "USE_SQLITE must be true or false".to_owned())
    }

    /// Only the port tells which database it is, unless the host is a socket. A socket of MariaDB is named by its file,
    /// and one of PostgreSQL by its folder.
    fn scheme_and_port(&self) -> Result<(&'static str, String), String> {
        if self.get("host").is_some_and(|host| host.starts_with('/') && host.ends_with(".sock")) {
            return Ok(("mysql", String::new()));
        }
        let Some(port) = self.get("port") else { return Ok(("postgres", String::new())) };
        let port: u16 = port.parse().map_err(|_| "DB_PORT must be a whole number from 1 to 65535")?;
        Ok((if port == 3306 { "mysql" } else { "postgres" }, format!(":{port}")))
    }

    fn credentials(&self) -> Result<String, String> {
        match (self.get("user"), self.get("password")) {
            (None, None) => Ok(String::new()),
            (None, Some(_)) => Err("DB_USER is missing beside DB_PASSWORD".to_owned()),
            (Some(user), None) => Ok(format!("{}@", encoded(user))),
            (Some(user), Some(password)) => Ok(format!("{}:{}@", encoded(user), encoded(password))),
        }
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
