//! What libpq and MariaDB's clients take is taken, or refused with the true reason.
use super::*;
use secrecy::ExposeSecret;

fn postgres(rest: &str) -> NetworkUrl {
    NetworkUrl::postgres(rest).unwrap_or_else(|problem| panic!("{rest}: {problem}"))
}

fn mysql(rest: &str) -> NetworkUrl {
    NetworkUrl::mysql(rest).unwrap_or_else(|problem| panic!("{rest}: {problem}"))
}

fn network(name: &str, port: Option<u16>) -> (Host, Option<u16>) {
    (Host::Network(name.to_owned()), port)
}

fn socket(path: &str, port: Option<u16>) -> (Host, Option<u16>) {
    (Host::Socket(path.into()), port)
}

#[test]
fn hosts_are_named_before_the_path_or_after_it() {
    for (url, hosts) in [
        ("u:p@h/d", vec![network("h", None)]),
        ("u:p@h:5433/d", vec![network("h", Some(5433))]),
        ("u:p@[::1]:5433/d", vec![network("::1", Some(5433))]),
        ("u:p@h:/d", vec![network("h", None)]),
        ("/d?host=h&port=5433", vec![network("h", Some(5433))]),
        ("one:1,two/d", vec![network("one", Some(1)), network("two", None)]),
        ("one,two/d?port=7", vec![network("one", Some(7)), network("two", Some(7))]),
        ("/d?host=one,two&port=7,8", vec![network("one", Some(7)), network("two", Some(8))]),
        ("u:p@/d?host=/run/pg", vec![socket("/run/pg", None)]),
        ("u:p@/d?host=/run/pg&port=5433", vec![socket("/run/pg", Some(5433))]),
        ("u:p@:5433/d?host=/run/pg", vec![socket("/run/pg", Some(5433))]),
        ("u:p@%2Frun%2Fpg:5433/d", vec![socket("/run/pg", Some(5433))]),
        ("/d?host=%2Frun%2Fpg", vec![socket("/run/pg", None)]),
    ] {
        assert_eq!(postgres(url).hosts, hosts, "{url}");
    }
    for (url, host) in [
        ("u:p@h/d", network("h", None)),
        ("u:p@[::1]:3307/d", network("::1", Some(3307))),
        ("u:p@/d?socket=/run/mysqld.sock", socket("/run/mysqld.sock", None)),
        ("u:p@localhost/d?unix_socket=%2Frun%2Fmysqld.sock", socket("/run/mysqld.sock", None)),
        ("u:p@%2Frun%2Fmysqld.sock/d", socket("/run/mysqld.sock", None)),
    ] {
        assert_eq!(mysql(url).hosts, [host], "{url}");
    }
}

#[test]
fn credentials_and_names_are_decoded_wherever_they_stand() {
    for url in ["a%40b:p%40s%2Fs@h/d%20b", "h/?user=a%40b&password=p%40s/s&dbname=d%20b", "a%40b:p@s%2Fs@h/d%20b"] {
        let NetworkUrl { user, password, database, .. } = postgres(url);
        assert_eq!((user.as_deref(), &*database), (Some("a@b"), "d b"), "{url}");
        assert_eq!(password.unwrap().expose_secret(), "p@s/s", "{url}");
    }
    let NetworkUrl { user, password, database, .. } = mysql("u@h/d/");
    assert_eq!((user.as_deref(), password.is_none(), &*database), (Some("u"), true, "d"));
    assert!(!format!("{:?}", postgres("u:hunter2@h/d")).contains("hunter2"));
}

#[test]
fn tls_is_asked_for_in_many_words() {
    use TlsMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    for (query, mode) in [
        ("", None),
        ("sslmode=disable", Some(Disable)),
        ("ssl-mode=PREFERRED", Some(Prefer)),
        ("sslmode=require", Some(Require)),
        ("ssl_mode=REQUIRED", Some(Require)),
        ("sslMode=VERIFY_CA", Some(VerifyCa)),
        ("ssl-mode=VERIFY_IDENTITY", Some(VerifyFull)),
        ("sslmode=verify-full", Some(VerifyFull)),
        ("ssl=true", Some(Require)),
        ("require_ssl=true", Some(Require)),
        ("require_ssl=false", Some(Disable)),
        ("verify_ca=true", Some(VerifyCa)),
        ("verify_ca=false", None),
        ("verify_identity=true", Some(VerifyFull)),
        ("require_ssl=true&verify_ca=true&verify_identity=false", Some(VerifyCa)),
        ("sslmode=require&verify_identity=true", Some(VerifyFull)),
        ("sslrootcert=system", Some(VerifyFull)),
    ] {
        assert_eq!(mysql(&format!("h/d?{query}")).tls, mode, "{query}");
        assert_eq!(postgres(&format!("h/d?{query}")).tls, mode, "{query}");
    }
    assert_eq!(postgres("h/d?sslrootcert=/etc/ca.crt").ca_file, Some("/etc/ca.crt".into()));
    assert_eq!(mysql("h/d?ssl-ca=/etc/ca.crt").ca_file, Some("/etc/ca.crt".into()));
    assert_eq!(postgres("h/d?sslrootcert=system").ca_file, None);
}

#[test]
fn what_libpq_knows_is_read() {
    let PostgresOptions { application_name, connect_timeout, options, session_attributes, .. } = postgres(
        "h/d?application_name=biz%20center&connect_timeout=3&options=-c%20geqo%3Doff&target_session_attrs=read-write\
         &client_encoding=UTF8",
    )
    .postgres;
    assert_eq!((application_name.as_deref(), options.as_deref()), (Some("biz center"), Some("-c geqo=off")));
    assert_eq!(connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!(session_attributes, Some(SessionAttributes::ReadWrite));
    let PostgresOptions {
        keepalives, keepalives_idle, keepalives_interval, keepalives_count, tcp_user_timeout, ..
    } = postgres("h/d?keepalives=1&keepalives_idle=9&keepalives_interval=8&keepalives_count=7&tcp_user_timeout=600")
        .postgres;
    assert_eq!((keepalives, keepalives_count), (Some(true), Some(7)));
    assert_eq!((keepalives_idle, keepalives_interval), (Some(Duration::from_secs(9)), Some(Duration::from_secs(8))));
    assert_eq!(tcp_user_timeout, Some(Duration::from_millis(600)));
}

#[test]
fn what_can_not_be_done_is_refused_with_the_reason() {
    for (url, problem) in [
        ("u:p@/d", "must name the host, or the folder of a socket by ?host=/run/postgresql"),
        ("h", "must end in the database's name: postgres://user:password@host/name"),
        ("h/d?host=other", "names the host twice"),
        ("h:1/d?port=2", "names the port twice"),
        ("u@h/d?user=v", "names the user twice"),
        ("u:p@h/d?password=q", "names the password twice"),
        ("h/d?dbname=e", "names the database twice"),
        ("h/d?sslmode=require&sslmode=require", "has sslmode twice"),
        ("/d?host=one,two,three&port=1,2", "must have one port, or one for each host"),
        ("one/d?host=", "names the host twice"),
        ("/d?host=one,/run/pg", "must name sockets or hosts, not both"),
        ("/d?host=@abstract", "must not name an abstract socket: they are not supported"),
        ("h/d?hostaddr=10.0.0.7", "has the parameter hostaddr, which is not supported: put the address into host"),
        ("h/d?sslcert=c", "has the parameter sslcert, which is not supported: there are no client certificates"),
        (
            "h/d?passfile=f",
            "has the parameter passfile, which names a file that is not read here: put what it says into the URL",
        ),
        ("h/d?sslmode=require&ssl=false", "turns TLS off and asks for it"),
        ("h/d?socket=/run/x", "has an unknown parameter: socket"),
        ("h/d?client_encoding=latin1", "must have no client_encoding but UTF8"),
        ("h/d?target_session_attrs=mine", "must have any, read-write or read-only as target_session_attrs"),
        ("h/d?connect_timeout=0", "must have a whole number from 1 to 86400000 as connect_timeout"),
        ("h/d#x", "has a #: in a password it must be percent-encoded, as %23"),
    ] {
        assert_eq!(NetworkUrl::postgres(url).unwrap_err(), problem, "{url}");
    }
    for (url, problem) in [
        ("u:p@/d", "must name the host, or a socket by ?socket="),
        ("one,two/d", "takes one host"),
        ("h/d?socket=/run/x", "names a host and a socket: keep one"),
        ("/d?socket=x", "must name a socket by its absolute path"),
        ("h/d?charset=latin1", "must have no charset but utf8mb4"),
        ("h/d?require_ssl=maybe", "must have true or false as require_ssl"),
        ("h/d?require_ssl=false&verify_ca=true", "turns TLS off and asks for it"),
        ("h/d?application_name=x", "has an unknown parameter: application_name"),
    ] {
        assert_eq!(NetworkUrl::mysql(url).unwrap_err(), problem, "{url}");
    }
}

#[test]
fn passwords_are_not_shown_wherever_they_stand() {
    for (url, shown) in [
        ("postgres://u:hunter2@h:1/d", "postgres://u:***@h:1/d"),
        ("postgres://u@h/d", "postgres://u@h/d"),
        ("postgres://u:hunter2@/d?host=/run/pg", "postgres://u:***@/d?host=/run/pg"),
        ("mysql://u:hun@ter2@h/d?sslmode=require", "mysql://u:***@h/d?sslmode=require"),
        ("postgres://h/d?password=hunter2&user=u", "postgres://h/d?password=***&user=u"),
        ("hunter2", "***"),
    ] {
        assert_eq!(redacted(url), shown);
    }
}
