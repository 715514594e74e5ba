//! Settings that depend on each other, on the environment, or on a form of their own.
use super::*;

const PER_HOUR: &str = "BIZCENTER_RATE_LIMIT__USER_PER_HOUR";

#[test]
fn sessions_in_redis_need_one() {
    let redis = ("BIZCENTER_AUTH__SESSION_STORE", "redis");
    assert_eq!(
        refused(&[redis], &[]),
        "auth.session_store (from BIZCENTER_AUTH__SESSION_STORE): is redis without one: set REDIS_URL or REDIS_URL_FILE"
    );
    assert_eq!(
        refused(&[redis, ("REDIS_URL", "nowhere")], &[]),
        "redis.url (from REDIS_URL): must start with redis:// or rediss://"
    );
    let config = load(&[redis, ("REDIS_URL", "rediss://:p%40ss@h:6380/1")], &[]);
    assert_eq!(config.auth.session_store, SessionStore::Redis);
    assert_eq!(config.redis.url.unwrap().expose_secret(), "rediss://:p%40ss@h:6380/1");
    let problems = refused(&[("BIZCENTER_AUTH__SESSION_STORE", "file")], &[]);
    assert!(problems.ends_with("must be auto, redis or database"), "{problems}");
}

#[test]
fn a_pooler_is_for_postgres_alone() {
    let pooler = ("DATABASE_POOLER", "transaction");
    let config = load(&[pooler, ("DATABASE_URL", "postgres://h/d")], &[]);
    assert_eq!(config.database.pooler, Pooler::Transaction);
    for other in ["sqlite://d.db", "mariadb://h/d"] {
        assert_eq!(
            refused(&[pooler, ("DATABASE_URL", other)], &[]),
            "database.pooler (from DATABASE_POOLER): is for PostgreSQL alone: leave it at none with this database.url"
        );
        load(&[("DATABASE_POOLER", "none"), ("DATABASE_URL", other)], &[]);
    }
    let problems = refused(&[("DATABASE_POOLER", "session"), ("DATABASE_URL", "postgres://h/d")], &[]);
    assert_eq!(problems, "database.pooler (from DATABASE_POOLER): must be none or transaction");
}

#[test]
fn signing_with_a_key_needs_one() {
    for algorithm in ["EdDSA", "RS256"] {
        assert_eq!(
            refused(&[("JWT_ALG", algorithm)], &[]),
            "auth.jwt_key: is missing, and only HS256 signs without it; set JWT_KEY_FILE or JWT_KEY"
        );
    }
    let env = [("JWT_ALG", "EdDSA"), ("JWT_KEY_FILE", "/run/key")];
    let auth = load(&env, &[("/run/key", PRIVATE_KEY)]).auth;
    assert_eq!((auth.jwt_algorithm, auth.jwt_key.is_some()), (JwtAlgorithm::EdDsa, true));
    assert_eq!(
        refused(&[("JWT_ALG", "none")], &[]),
        "auth.jwt_algorithm (from JWT_ALG): must be HS256, EdDSA or RS256"
    );
}

#[test]
fn what_is_no_private_key_is_refused_and_not_repeated() {
    let public = "-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----";
    let cut_off = "-----BEGIN PRIVATE KEY-----\nhunter2";
    for wrong in [public, cut_off, "/run/hunter2.pem", ""] {
        let key = ("/run/key", wrong);
        let problems = refused(&[("JWT_KEY_FILE", "/run/key")], &[key]);
        assert!(problems.starts_with("auth.jwt_key (from JWT_KEY_FILE): must be a private key"), "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
        assert!(refused(&[("BIZCENTER_AUTH__JWT_KEY_PREVIOUS_FILE", "/run/key")], &[key]).contains("jwt_key_previous"));
    }
}

#[test]
fn a_private_key_may_stand_on_one_line() {
    for ends in ["\\n", "\\r\\n"] {
        let key = PRIVATE_KEY.replace('\n', ends);
        assert_eq!(
            load(&[("JWT_ALG", "EdDSA"), ("JWT_KEY", &key)], &[]).auth.jwt_key.unwrap().expose_secret(),
            PRIVATE_KEY
        );
    }
    let dotenv = format!("JWT_ALG=EdDSA\nJWT_KEY=\"{PRIVATE_KEY}\"\nPORT=1\n");
    let config = load(&[], &[(".env", &dotenv)]);
    assert_eq!((config.auth.jwt_key.unwrap().expose_secret(), config.server.port), (PRIVATE_KEY, 1), "nor on one");
}

#[test]
fn development_allows_other_origins_only_where_it_is_told() {
    assert_eq!(load(&[], &[]).cors.origins, Origins::None);
    assert_eq!(load(&[("CORS_ORIGINS", "*")], &[]).cors.origins, Origins::Any);
    let told = DEFAULT_FILE.split("\nenvironment = ").next().unwrap();
    assert!(!told.contains("allows CORS from anywhere") && told.contains("may be told to allow CORS"), "{told}");
}

#[test]
fn a_key_ring_is_read_from_files() {
    let (one, two) = ("the first key of the ring: 5f3a9c", "the second key of the ring: 8b1d7e");
    let files = [("/run/one", &*format!("{one}\n")), ("/run/two", two)];
    let toml = "[encryption]\nactive = \"2027\"\nkeys = [{id = \"2026\", key_file = \"/run/one\"}, {id = \"2027\", key_file = \"/run/two\"}]";
    let toml = [files[0], files[1], ("bizcenter.toml", toml)];
    let keys = |encryption: &EncryptionConfig| {
        let shown = |key: &MasterKey| (key.id.clone(), key.secret.expose_secret().to_owned());
        encryption.keys.iter().map(shown).collect::<Vec<_>>()
    };
    let ring = [("2026".to_owned(), one.to_owned()), ("2027".to_owned(), two.to_owned())];
    let encryption = load(&[("APP_ENV", "production"), ("JWT_SECRET", STRONG)], &toml).encryption;
    assert_eq!((keys(&encryption), encryption.active), (ring.to_vec(), "2027".to_owned()), "no simple key is needed");

    let json = r#"[{"id": "2026", "key_file": "/run/one"}, {"id": "2027", "key_file": "/run/two"}]"#;
    let env = [("BIZCENTER_ENCRYPTION__KEYS", json), ("BIZCENTER_ENCRYPTION__ACTIVE", "default")];
    let env = [env[0], env[1], ("CONTRACT_ENCRYPTION_KEY", STRONG)];
    let encryption = load(&env, &files).encryption;
    assert_eq!((encryption.keys.len(), encryption.keys[2].id.as_str()), (3, "default"));
    assert_eq!((&keys(&encryption)[..2], encryption.active.as_str()), (&ring[..], "default"));
}

#[test]
fn a_key_ring_that_can_not_be_used_is_refused() {
    let files = [("/run/one", "the first key of the ring: 5f3a9c"), ("/run/short", "hunter2")];
    let problem = |keys: &str, active: &str| {
        let env = [("BIZCENTER_ENCRYPTION__KEYS", keys), ("BIZCENTER_ENCRYPTION__ACTIVE", active)];
        let problems = refused(&env, &files);
        assert!(!problems.contains("hunter2"), "{problems}");
        problems
    };
    let one = r#"{"id": "one", "key_file": "/run/one"}"#;
    assert!(problem(&format!("[{one}]"), "two").starts_with("encryption.active"));
    assert!(problem(&format!("[{one}]"), "").contains("encryption.active: is missing"));
    assert!(problem(&format!("[{one}, {one}]"), "one").contains("the id one is taken"));
    assert!(problem(r#"[{"id": "default", "key_file": "/run/one"}]"#, "default").contains("the id default is taken"));
    assert!(problem(r#"[{"id": "One", "key_file": "/run/one"}]"#, "One").contains("is no id"));
    assert!(problem(r#"[{"id": "a", "key_file": "/run/short"}]"#, "a").contains("the key a must have at least 32"));
    assert!(problem(r#"[{"id": "a", "key_file": "/run/none"}]"#, "a").contains("/run/none cannot be read"));
    assert!(problem(r#"[{"id": "a", "key": "hunter2"}]"#, "a").contains("takes key_file, not key"));
    for no_list in ["hunter2", "{}", r#"["hunter2"]"#, r#"[{"id": "a"}]"#] {
        assert!(problem(no_list, "a").contains("encryption.keys (from BIZCENTER_ENCRYPTION__KEYS): must be a list"));
    }
}

#[test]
fn metrics_need_an_address_and_a_port() {
    assert_eq!(load(&[("METRICS_ADDR", "127.0.0.1:9100")], &[]).metrics.address, Some(([127, 0, 0, 1], 9100).into()));
    for wrong in ["9100", "localhost:9100", "127.0.0.1", ":9100"] {
        let problem = refused(&[("METRICS_ADDR", wrong)], &[]);
        assert!(
            problem.starts_with("metrics.address (from METRICS_ADDR): must be an IP address and a port"),
            "{problem}"
        );
    }
}

#[test]
fn bad_urls_are_refused_and_not_repeated() {
    for (variable, setting, wrong) in [
        ("REDIS_URL", "redis.url", "hunter2"),
        ("REDIS_URL", "redis.url", "http://u:hunter2@h"),
        ("REDIS_URL", "redis.url", "redis://u:hunter2@"),
        ("REDIS_URL", "redis.url", "redis://u:hunter2/x@h"),
        ("REDIS_URL", "redis.url", "redis://u:2#hunter2@h"),
        ("REDIS_URL", "redis.url", "redis:///hunter2"),
        ("REDIS_URL", "redis.url", "redis://h/hunter2"),
        ("SMTP_URL", "mail.smtp_url", "smtps://u:%ffhunter2@h"),
        ("SMTP_URL", "mail.smtp_url", "hunter2@h:587"),
        ("SMTP_URL", "mail.smtp_url", "http://u:hunter2@h"),
        ("SMTP_URL", "mail.smtp_url", "smtp://u:hunter2@h:port"),
        ("SMTP_URL", "mail.smtp_url", "smtps://?hunter2"),
        ("SMTP_URL", "mail.smtp_url", "smtp://hunter2@localhost"),
        ("APP_URL", "mail.app_url", "app.example.com/hunter2"),
        ("APP_URL", "mail.app_url", "ftp://u:hunter2@h"),
        ("APP_URL", "mail.app_url", "https://app.example.com/?hunter2"),
    ] {
        let problems = refused(&[(variable, wrong)], &[]);
        assert!(problems.starts_with(&format!("{setting} (from {variable}): ")), "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn mail_has_a_sender_and_links_have_an_address() {
    let smtp = "smtp://user%40example.com:p%40ss@mail.example.com:587?tls=required";
    let env =
        [("SMTP_URL", smtp), ("MAIL_FROM", "Bü & Co. <a@b.example>"), ("APP_URL", "https://App.example.com/biz/")];
    let mail = load(&env, &[]).mail;
    assert_eq!(mail.smtp_url.unwrap().expose_secret(), smtp);
    assert_eq!((mail.from.as_str(), mail.app_url.as_deref()), (env[1].1, Some("https://app.example.com/biz")));
    assert_eq!(load(&[("MAIL_FROM", "a@b.example")], &[]).mail.from, "a@b.example");
    // earlier versions sent no mail with this sender, because the parser of mails refused it
    let acme = "Acme, Inc. <a@b.example>";
    assert_eq!(load(&[("MAIL_FROM", acme)], &[]).mail.from, acme);
    for wrong in ["BizCenter", "BizCenter <a>", "Biz \"Center <a@b.example>", "Biz\r\nBcc: x@y.example <a@b.example>"] {
        let problems = refused(&[("MAIL_FROM", wrong)], &[]);
        assert_eq!(problems, "mail.from (from MAIL_FROM): must be like BizCenter <no-reply@example.com>");
    }
}

#[test]
fn a_limit_by_the_minute_is_counted_by_the_hour() {
    let two = ("RATE_LIMIT_PER_MINUTE", "2");
    let per_hour = |env: &[(&str, &str)], files: &[(&str, &str)]| load(env, files).rate_limit.user_per_hour;
    assert_eq!(per_hour(&[two], &[]), 120);
    assert_eq!(per_hour(&[("RATE_LIMIT_PER_MINUTE_FILE", "/run/limit")], &[("/run/limit", "2\n")]), 120);
    assert_eq!(per_hour(&[two, (PER_HOUR, "120")], &[]), 120);
    let dotenv = (".env", "RATE_LIMIT_PER_MINUTE=2");
    let toml = ("bizcenter.toml", "[rate_limit]\nuser_per_hour = 5\n");
    assert_eq!((per_hour(&[], &[dotenv, toml]), per_hour(&[(PER_HOUR, "7")], &[dotenv, toml])), (120, 7));
    assert_eq!(
        refused(&[two, (PER_HOUR, "7")], &[]),
        format!("rate_limit.user_per_hour: {PER_HOUR} and RATE_LIMIT_PER_MINUTE have different values; keep one")
    );
    for wrong in ["0", "-1", "many", "16667"] {
        assert_eq!(
            refused(&[("RATE_LIMIT_PER_MINUTE", wrong)], &[]),
            "rate_limit.user_per_hour (from RATE_LIMIT_PER_MINUTE): RATE_LIMIT_PER_MINUTE must be a whole number from 1 \
             to 16666"
        );
    }
}

#[test]
fn common_passwords_are_refused_outside_development() {
    let refuses = |env: &[(&str, &str)]| load(env, &[]).auth.refuse_common_passwords;
    assert!(!refuses(&[]));
    assert!(refuses(&production(&[])) && refuses(&production(&[("APP_ENV", "staging")])));
    let setting = "BIZCENTER_AUTH__REFUSE_COMMON_PASSWORDS";
    assert!(refuses(&[(setting, "true")]) && !refuses(&production(&[(setting, "false")])));
}

#[test]
fn mail_does_not_leave_in_the_clear_outside_development() {
    let smtp = |url| load(&production(&[("SMTP_URL", url)]), &[]).mail.smtp_url.is_some();
    for fit in [
        "smtp://u:p@mail.example.com:587?tls=required",
        "smtps://mail.example.com",
        "smtp://localhost:25",
        "smtp://127.0.0.2",
        "smtp://[::1]:25?tls=opportunistic",
    ] {
        assert!(smtp(fit), "{fit}");
    }
    for unfit in [
        "smtp://u:hunter2@mail.example.com:587",
        "smtp://u:hunter2@mail.example.com?tls=opportunistic",
        "smtp://u:hunter2@10.0.0.7",
        "smtp://u:hunter2@[2001:db8::1]",
        "smtp://u:hunter2@localhost.example.com",
    ] {
        assert_eq!(
            refused(&production(&[("SMTP_URL", unfit)]), &[]),
            "mail.smtp_url (from SMTP_URL): would send mail in the clear: add ?tls=required, or start with smtps://"
        );
        assert!(load(&[("SMTP_URL", unfit)], &[]).mail.smtp_url.is_some());
    }
    for env in [vec![], production(&[])] {
        let env = [env, vec![("SMTP_URL", "smtp://u:hunter2@localhost?tls=maybe")]].concat();
        let told = "mail.smtp_url (from SMTP_URL): has a tls that is neither required nor opportunistic";
        assert_eq!(refused(&env, &[]), told);
    }
}

#[test]
fn what_would_not_do_what_it_seems_to_is_refused_outside_development() {
    let verified = ("BIZCENTER_AUTH__REQUIRE_VERIFIED_EMAIL", "true");
    let key = ("JWT_KEY_FILE", "/run/key");
    let files = [("/run/key", PRIVATE_KEY)];
    let previous = ("BIZCENTER_AUTH__JWT_KEY_PREVIOUS", PRIVATE_KEY);
    let idle = "is set, but HS256 signs without it; set JWT_ALG to EdDSA or RS256, or leave it out";
    assert_eq!(
        refused(&production(&[verified, key, previous]), &files),
        format!(
            "auth.jwt_key (from JWT_KEY_FILE): {idle}\n\
             auth.jwt_key_previous (from BIZCENTER_AUTH__JWT_KEY_PREVIOUS): {idle}\n\
             auth.require_verified_email (from BIZCENTER_AUTH__REQUIRE_VERIFIED_EMAIL): needs mail, or nobody could sign \
             in: set SMTP_URL or SMTP_URL_FILE"
        )
    );
    load(&[verified, key, previous], &files);
    let smtp = ("SMTP_URL", "smtps://mail.example.com");
    load(&production(&[verified, smtp, key, previous, ("JWT_ALG", "EdDSA")]), &files);
}
