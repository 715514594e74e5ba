//! TLS to the database: the connection is encrypted if the settings ask for it, and only to the right server.
//!
//! With SQLite there is no connection to a server, so these tests do not apply.
use crate::support::proxy::Proxy;
use crate::support::rows::{rows, text};
use crate::support::{Kind, TestApp, is_for, not_for_this_run};
use bizcenter::config::DatabaseUrl;
use bizcenter::db::AnyConnection;
use bizcenter::db::connect::{Target, establish};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

/// The URL of this run's database server. `None` for SQLite.
fn server() -> Option<Url> {
    let variable = match Kind::of_this_run() {
        Kind::Sqlite => {
            not_for_this_run("SQLite has no server");
            return None;
        }
        Kind::Postgres => "TEST_POSTGRES_URL",
        Kind::Mariadb => "TEST_MARIADB_URL",
    };
    Some(Url::parse(&std::env::var(variable).unwrap()).unwrap())
}

fn address_of(server: &Url) -> SocketAddr {
    SocketAddr::new(server.host_str().unwrap().parse().unwrap(), server.port().unwrap())
}

/// The certificate of the authority that signed the certificates of the test servers, for `localhost` and 127.0.0.1.
fn right_authority() -> Option<PathBuf> {
    Some(std::env::var_os("TEST_TLS_CA").unwrap().into())
}

/// The certificate of an authority with the same name, which did not sign them.
fn wrong_authority(folder: &TempDir) -> Option<PathBuf> {
    let file = folder.path().join("ca.crt");
    let made = Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1".split(' '))
        .args(["-subj", "/CN=throwaway test CA", "-addext", "basicConstraints=critical,CA:TRUE"])
        .arg("-keyout")
        .arg(folder.path().join("ca.key"))
        .arg("-out")
        .arg(&file)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(file)
}

/// Connects with this query in the URL. Neither a connection nor an error may reveal the password.
async fn connect(server: &Url, query: &str, ca_file: Option<PathBuf>) -> Result<AnyConnection, String> {
    let mut url = server.clone();
    url.set_query(Some(query).filter(|query| !query.is_empty()));
    let result = match Target::parse(url.as_str(), ca_file) {
        Ok(target) => establish(&target).await.map_err(|error| format!("{error:?}")),
        Err(error) => Err(format!("{error:?}")),
    };
    if let Err(error) = &result {
        assert!(!error.contains(server.password().unwrap()), "{error}");
    }
    result
}

/// Whether this session is encrypted, according to the server.
async fn is_encrypted(conn: &mut AnyConnection) -> bool {
    match conn {
        AnyConnection::Pg(_) => {
            let sql = "SELECT concat_ws(' ', ssl, cipher) FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let told = text(conn, sql).await;
            assert!(told == "f" || told.starts_with("t TLS_"), "{told}");
            told != "f"
        }
        AnyConnection::Mysql(_) => {
            let told = rows(conn, "SHOW STATUS LIKE 'Ssl_cipher'").await;
            assert_eq!((told.len(), told[0][0].as_str()), (1, "Ssl_cipher"));
            !told[0][1].is_empty()
        }
        AnyConnection::Sqlite(..) => panic!("SQLite has no line"),
    }
}

#[tokio::test]
async fn a_connection_is_encrypted_when_it_is_asked_for_and_not_otherwise() {
    let Some(server) = server() else { return };
    let mut by_name = server.clone();
    by_name.set_host(Some("localhost")).unwrap();
    let right = right_authority();
    let on_its_own = Kind::of_this_run() == Kind::Postgres; // MariaDB's own clients do not ask for TLS by default
    for (query, ca_file, encrypted) in [
        ("sslmode=require", None, true),
        ("ssl-mode=REQUIRED", None, true),
        ("sslmode=require", right.clone(), true),
        ("sslmode=verify-full", right.clone(), true),
        ("sslmode=verify-ca", right.clone(), true),
        ("ssl-mode=VERIFY_IDENTITY", right.clone(), true),
        ("", right.clone(), true),
        ("", None, on_its_own),
        ("sslmode=prefer", None, true),
        ("require_ssl=true", None, true),
        ("ssl=true", None, true),
        ("require_ssl=true&verify_ca=true", right.clone(), true),
        ("verify_identity=true", right.clone(), true),
        ("ssl_mode=VERIFY_CA", right.clone(), true),
        ("require_ssl=false", None, false),
        ("sslmode=disable", None, false),
        ("ssl-mode=DISABLED", None, false),
    ] {
        for server in [&server, &by_name] {
            let mut conn = connect(server, query, ca_file.clone()).await.unwrap();
            assert_eq!(is_encrypted(&mut conn).await, encrypted, "{query:?} {ca_file:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_the_authority_does_not_know_is_refused() {
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let wrong = wrong_authority(&folder);
    for (query, ca_file) in [
        ("sslmode=verify-full", wrong.clone()),
        ("sslmode=require", wrong.clone()),
        ("", wrong.clone()),
        ("sslmode=verify-full", None), // nor do the authorities that the machine trusts know the server
        ("verify_ca=true", wrong.clone()),
        ("require_ssl=true&verify_identity=true", wrong.clone()),
        ("verify_ca=true", None),
        ("verify_identity=true", None),
    ] {
        let refused = connect(&server, query, ca_file.clone()).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{query:?} {ca_file:?} was let through"));
        assert!(refused.contains("certificate"), "{query:?}: {refused}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_address_is_refused() {
    let Some(mut server) = server() else { return };
    let elsewhere = Proxy::at(Ipv4Addr::new(127, 0, 0, 2), address_of(&server)).await;
    server.set_host(Some("127.0.0.2")).unwrap();
    server.set_port(Some(elsewhere.address.port())).unwrap();
    let refused = connect(&server, "sslmode=verify-full", right_authority()).await.err().unwrap();
    assert!(refused.contains("NotValidForName") || refused.contains("not valid for name"), "{refused}");
    let refused = connect(&server, "verify_identity=true", right_authority()).await.err().unwrap();
    assert!(refused.to_lowercase().contains("name"), "{refused}");
    for query in ["sslmode=require", "require_ssl=true"] {
        let mut conn = connect(&server, query, None).await.unwrap(); // this does not check the certificate
        assert!(is_encrypted(&mut conn).await);
    }
    let by_authority = connect(&server, "sslmode=verify-ca", right_authority()).await;
    match Kind::of_this_run() {
        Kind::Mariadb => assert!(by_authority.is_err(), "its driver looks at the name, too"),
        _ => assert!(is_encrypted(&mut by_authority.unwrap()).await, "the authority is enough"),
    }
}

#[tokio::test]
async fn settings_that_mean_nothing_are_refused() {
    let Some(server) = server() else { return };
    for query in ["sslmode=required-ish", "sslmode=", "ssl-mode=on", "sslmode=true"] {
        let refused = connect(&server, query, None).await.err().unwrap();
        assert!(refused.contains("unknown sslmode"), "{query}: {refused}");
    }
    for (query, reason) in [
        ("require_sll=true", "has an unknown parameter: require_sll"),
        ("sslmode=require&pizza=1", "has an unknown parameter: pizza"),
        ("require_ssl=perhaps", "must have true or false as require_ssl"),
        ("sslmode=disable&verify_ca=true", "turns TLS off and asks for it"),
    ] {
        let refused = connect(&server, query, None).await.err().unwrap();
        assert!(refused.contains(reason), "{query}: {refused}");
    }
    let different = connect(&server, "sslrootcert=/etc/other.crt", right_authority()).await.err().unwrap();
    assert!(different.contains("name different files of authorities"), "{different}");
    let authority = right_authority().unwrap();
    let query = format!("sslmode=verify-full&sslrootcert={}", authority.display());
    assert!(is_encrypted(&mut connect(&server, &query, None).await.unwrap()).await, "the file may stand in the URL");
    let folder = tempfile::tempdir().unwrap();
    let (missing, no_certificate) = (folder.path().join("missing.crt"), folder.path().join("empty.crt"));
    std::fs::write(&no_certificate, "this is no PEM\n").unwrap();
    for file in [missing, no_certificate] {
        assert!(connect(&server, "sslmode=verify-full", Some(file.clone())).await.is_err(), "{}", file.display());
    }
}

/// The first packet of a MariaDB server without TLS (the capability 0x0800 is missing).
fn greeting_without_tls() -> Vec<u8> {
    let mut packet = b"\x0a5.5.5-10.11.0-MariaDB\0".to_vec();
    packet.extend(*b"\x01\0\0\0abcdefgh\0"); // connection, first half of the challenge
    // Capabilities, collation, state, more capabilities, length of challenge.
    packet.extend(*b"\xff\xf7\x2d\x02\0\xff\x81\x15");
    packet.extend(*b"\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0mysql_native_password\0");
    let length = u8::try_from(packet.len()).unwrap();
    [&[length, 0, 0, 0], packet.as_slice()].concat()
}

#[tokio::test]
async fn nobody_in_between_can_talk_us_out_of_encryption() {
    let Some(mut server) = server() else { return };
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    server.set_port(Some(between.local_addr().unwrap().port())).unwrap();
    let kind = Kind::of_this_run();
    let mut checked = 0;
    for (query, ca_file) in [
        ("sslmode=require", None),
        ("sslmode=verify-full", right_authority()),
        ("require_ssl=true", None),
        ("verify_ca=true", right_authority()),
    ] {
        let attack = async {
            let (mut line, _) = between.accept().await.unwrap();
            if kind == Kind::Postgres {
                let mut wish = [0; 8];
                line.read_exact(&mut wish).await.unwrap();
                assert_eq!(wish, [0, 0, 0, 8, 4, 210, 22, 47], "it asks for TLS");
                line.write_all(b"N").await.unwrap();
            } else {
                line.write_all(&greeting_without_tls()).await.unwrap();
            }
            let mut told = vec![];
            line.read_to_end(&mut told).await.unwrap();
            told
        };
        let (refused, told) = tokio::join!(connect(&server, query, ca_file), attack);
        let refused = refused.err().unwrap();
        assert!(refused.to_lowercase().contains("tls") || refused.to_lowercase().contains("ssl"), "{refused}");
        let name = server.username().as_bytes();
        assert!(!told.windows(name.len()).any(|part| part == name), "not even our name may be told: {told:?}");
        checked += 1;
    }
    assert_eq!(checked, 4);
}

#[tokio::test]
async fn where_encryption_is_only_preferred_a_server_without_it_will_do() {
    let Some(mut server) = server() else { return };
    if !is_for(Kind::Mariadb, "PostgreSQL's driver does that by itself") {
        return;
    }
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    server.set_port(Some(plain.local_addr().unwrap().port())).unwrap();
    let greet = async {
        let (mut first, _) = plain.accept().await.unwrap();
        first.write_all(&greeting_without_tls()).await.unwrap();
        let (mut second, _) = plain.accept().await.unwrap();
        second.write_all(&greeting_without_tls()).await.unwrap();
        let mut told = vec![0; 4096];
        let length = second.read(&mut told).await.unwrap();
        told.truncate(length);
        told
    };
    let (result, told) = tokio::join!(connect(&server, "ssl-mode=PREFERRED", None), greet);
    assert!(result.is_err(), "it hung up then");
    let name = server.username().as_bytes();
    assert!(told.windows(name.len()).any(|part| part == name), "it went on in plain text: {told:?}");
}

#[tokio::test]
async fn the_server_takes_its_authority_from_the_settings() {
    if server().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (ca_file, works) in [(right_authority(), true), (wrong_authority(&folder), false)] {
        let app = TestApp::with(|config| {
            let url = format!("{}?sslmode=verify-full", config.database.url.expose());
            config.database.url = DatabaseUrl::parse(&url, Path::new("/")).unwrap();
            config.database.ca_file = ca_file;
            config.database.acquire_timeout = Duration::from_secs(2);
        });
        let app = app.await;
        if works {
            app.visitor().get("/readyz").expect(200).await;
        } else {
            let answer = app.visitor().get("/readyz").expect(503).await.text();
            assert!(!answer.contains("certificate") && !answer.contains("TLS"), "{answer}");
        }
    }
}
