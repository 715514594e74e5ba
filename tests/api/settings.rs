//! Settings as operators give them: `config check` refuses what `serve` refuses, and names the setting.
use crate::cli::{bizcenter, run, started};
use crate::support::TestDatabase;

const ED25519: &str = include_str!("../../src/auth/testdata/ed25519.pem");
const RSA: &str = include_str!("../../src/auth/testdata/rsa2048.pem");
const SHORT_RSA: &str = include_str!("../../src/auth/testdata/rsa1024.pem");
const SMTP: (&str, &str) = ("SMTP_URL", "smtp://localhost:1025");

#[tokio::test]
async fn what_serve_refuses_is_refused_by_config_check_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let no_certificate = folder.path().join("empty.pem");
    std::fs::write(&no_certificate, "").unwrap();
    let no_certificate = no_certificate.to_str().unwrap();
    let ca_file = "BIZCENTER_DATABASE__CA_FILE";
    let previous = "BIZCENTER_AUTH__JWT_KEY_PREVIOUS";
    let (postgres, mariadb) = ("postgres://u:hidden-word@localhost/d", "mariadb://u:hidden-word@localhost/d");
    let cases: [(&str, &[(&str, &str)]); 11] = [
        ("mail.from (from MAIL_FROM)", &[SMTP, ("MAIL_FROM", "Ada \"x <a@b.example>")]),
        ("mail.smtp_url (from SMTP_URL)", &[("SMTP_URL", "smtps://u:%ffhidden-word@localhost")]),
        ("redis.url (from REDIS_URL)", &[("REDIS_URL", "redis://u:hidden-word@localhost/first")]),
        (
            "database.url (from DATABASE_URL)",
            &[("DATABASE_URL", "postgres://u:hidden-word@localhost/d?sslmode=perhaps")],
        ),
        (
            "database.ca_file (from BIZCENTER_DATABASE__CA_FILE)",
            &[("DATABASE_URL", postgres), (ca_file, "/nowhere.pem")],
        ),
        (
            "database.ca_file (from BIZCENTER_DATABASE__CA_FILE)",
            &[("DATABASE_URL", mariadb), (ca_file, "/nowhere.pem")],
        ),
        (
            "database.ca_file (from BIZCENTER_DATABASE__CA_FILE)",
            &[("DATABASE_URL", mariadb), (ca_file, no_certificate)],
        ),
        ("auth.jwt_key (from JWT_KEY)", &[("JWT_ALG", "EdDSA"), ("JWT_KEY", RSA)]),
        ("auth.jwt_key (from JWT_KEY)", &[("JWT_ALG", "RS256"), ("JWT_KEY", SHORT_RSA)]),
        (
            "auth.jwt_key_previous (from BIZCENTER_AUTH__JWT_KEY_PREVIOUS)",
            &[("JWT_ALG", "RS256"), ("JWT_KEY", RSA), (previous, ED25519)],
        ),
        (
            "auth.jwt_key_previous (from BIZCENTER_AUTH__JWT_KEY_PREVIOUS)",
            &[("JWT_ALG", "EdDSA"), ("JWT_KEY", ED25519), (previous, SHORT_RSA)],
        ),
    ];
    for (named, env) in cases {
        let mut said = vec![];
        for arguments in [&["config", "check"][..], &["serve"]] {
            let (code, _, error) =
                run(bizcenter(folder.path(), arguments).env("PORT", "0").envs(env.iter().copied())).await;
            assert_eq!(code, 2, "{arguments:?} {named}: {error}");
            assert!(error.contains(&format!("\n{named}: ")), "{arguments:?} {named}: {error}");
            assert!(!error.contains("hidden-word") && !error.contains("PRIVATE KEY"), "{error}");
            said.push(error);
        }
        assert_eq!(said[0], said[1], "{named}");
    }
}

#[tokio::test]
async fn a_name_that_mail_has_to_quote_is_a_sender() {
    let database = TestDatabase::create().await;
    let env = [SMTP, ("MAIL_FROM", "Acme, Inc. <no-reply@acme.example>"), ("DATABASE_URL", database.url.as_str())];
    let (code, _, error) = run(bizcenter(database.folder.path(), &["config", "check"]).envs(env)).await;
    assert_eq!(code, 0, "{error}");
    started(bizcenter(database.folder.path(), &["serve"]).envs(env), "Documentation at ").await;
}

#[tokio::test]
async fn a_key_may_stand_on_one_line_or_on_several_in_dotenv() {
    let folder = tempfile::tempdir().unwrap();
    let check = async |env: &[(&str, &str)]| {
        run(bizcenter(folder.path(), &["config", "check"]).envs(env.iter().copied())).await
    };
    let on_one_line =
        [ED25519.replace('\n', "\\n"), ED25519.replace('\n', "\\r\\n"), ED25519.trim_end().replace('\n', "\\n")];
    for key in &on_one_line {
        let (code, _, error) = check(&[("JWT_ALG", "EdDSA"), ("JWT_KEY", key)]).await;
        assert_eq!(code, 0, "{error}");
    }
    for (quote, key) in [('"', ED25519), ('\'', ED25519.trim_end()), ('"', on_one_line[0].as_str())] {
        let dotenv = format!("JWT_ALG=EdDSA\nJWT_KEY={quote}{key}{quote} # made by openssl\nPORT=8001\n");
        std::fs::write(folder.path().join(".env"), dotenv).unwrap();
        let (code, out, error) = check(&[]).await;
        assert_eq!(code, 0, "{error}");
        assert!(out.contains("from JWT_KEY in .env") && out.contains("server.port = 8001"), "{out}");
        assert!(!out.contains("PRIVATE KEY"), "{out}");
    }
}

#[tokio::test]
async fn quotes_that_docker_kept_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let quoted = "\"q7vN2xK0mB4tZ8wR5yL1cH6jD9sF3gPa\"";
    let (code, _, error) = run(bizcenter(folder.path(), &["config", "check"]).env("JWT_SECRET", quoted)).await;
    assert_eq!(
        (code, error.contains("auth.jwt_secret (from JWT_SECRET): is in quotation marks")),
        (2, true),
        "{error}"
    );
    assert!(error.contains("--env-file") && !error.contains("q7vN"), "{error}");
}
