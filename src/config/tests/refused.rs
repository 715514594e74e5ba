//! Which settings are refused, and with which messages.
use super::*;

#[test]
fn a_value_and_its_file_together_are_refused() {
    let env = [("PORT", "1"), ("PORT_FILE", "/run/port"), ("JWT_SECRET_FILE", "/run/missing")];
    assert_eq!(
        refused(&env, &[("bizcenter.toml", "[server]\nhost = 'localhost'\nhost_file = 'x'\n")]),
        "server.host (from bizcenter.toml): server.host and server.host_file are both set; keep one\n\
         auth.jwt_secret (from JWT_SECRET_FILE): /run/missing cannot be read: entity not found\n\
         server.port (from the environment): PORT and PORT_FILE are both set; keep one"
    );
}

#[test]
fn two_names_must_agree() {
    load(&[("JWT_SECRET", STRONG), ("SECRET_KEY", STRONG)], &[]);
    assert_eq!(
        refused(&[("JWT_SECRET", STRONG), ("SECRET_KEY", STRONG_TOO)], &[]),
        "auth.jwt_secret: JWT_SECRET and SECRET_KEY have different values; keep one"
    );
}

#[test]
fn unknown_names_are_refused_with_a_hint() {
    let env = [("BIZCENTER_DATABASE_POOL_SIZE", "1"), ("BIZCENTER_PIZZA", "1"), ("SOMETHING_ELSE", "1")];
    let toml = "jwt_secret = 'x'\n[sever]\nport = 1\n[server]\nprot = 1\n";
    assert_eq!(
        refused(&env, &[("bizcenter.toml", toml)]),
        "jwt_secret (from bizcenter.toml): there is no such setting; did you mean auth.jwt_secret?\n\
         server.prot (from bizcenter.toml): there is no such setting; did you mean server.port?\n\
         sever.port (from bizcenter.toml): there is no such setting; did you mean server.port?\n\
         BIZCENTER_DATABASE_POOL_SIZE (from the environment): there is no such setting; \
         did you mean BIZCENTER_DATABASE__POOL_SIZE?\n\
         BIZCENTER_PIZZA (from the environment): there is no such setting"
    );
    load(&[("BIZCENTER_SERVICE_HOST", "10.0.0.7"), ("BIZCENTER_PORT", "tcp://10.0.0.7:80")], &[]);
}

#[test]
fn broken_toml_is_refused_without_showing_the_line() {
    let problems = refused(&[], &[("bizcenter.toml", "[auth]\njwt_secret = hunter2\n")]);
    assert!(problems.starts_with("bizcenter.toml: line 2: "), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn all_problems_come_at_once() {
    let env = [
        ("APP_ENV", "production"),
        ("JWT_SECRET", "short"),
        ("HOST", "nowhere"),
        ("PORT", "http"),
        ("BIZCENTER_DATABASE__POOL_SIZE", "0"),
        ("BIZCENTER_AUTH__BCRYPT_COST", "4"),
        ("BIZCENTER_AUTH__JWT_SECRET_PREVIOUS", "your-secret-key-your-secret-key-0123"),
        ("DATABASE_URL", "oracle://hunter2@h/d"),
        ("TRUSTED_PROXIES", "10.0.0.0/40"),
        ("REFRESH_IN_COOKIE", "maybe"),
        ("CORS_ORIGINS", "*"),
        ("LOG_LEVEL", "verbose"),
        ("BIZCENTER_LOG__FORMAT", "xml"),
    ];
    assert_eq!(
        refused(&env, &[]),
        "server.host (from HOST): must be an IP address or localhost\n\
         server.port (from PORT): must be a whole number from 0 to 65535, not string \"http\"\n\
         server.trusted_proxies (from TRUSTED_PROXIES): \"10.0.0.0/40\" is no IP address or CIDR range\n\
         database.url (from DATABASE_URL): must start with sqlite://, postgres://, postgresql://, mysql:// or \
         mariadb://\n\
         database.pool_size (from BIZCENTER_DATABASE__POOL_SIZE): must be a whole number from 1 to 1000, not 0\n\
         auth.jwt_secret (from JWT_SECRET): must have at least 32 bytes\n\
         auth.jwt_secret_previous (from BIZCENTER_AUTH__JWT_SECRET_PREVIOUS): looks like a placeholder (it contains \
         \"secret\"); make one by `openssl rand -base64 48`\n\
         auth.refresh_in_cookie (from REFRESH_IN_COOKIE): must be true or false, not string \"maybe\"\n\
         auth.bcrypt_cost (from BIZCENTER_AUTH__BCRYPT_COST): must be a whole number from 10 to 15, not 4\n\
         encryption.key: is missing in production; set CONTRACT_ENCRYPTION_KEY or CONTRACT_ENCRYPTION_KEY_FILE\n\
         cors.origins (from CORS_ORIGINS): may be * in development only; list the origins\n\
         log.level (from LOG_LEVEL): \"verbose\" must be off, error, warn, info, debug or trace, or target=level\n\
         log.format (from BIZCENTER_LOG__FORMAT): must be text or json"
    );
}

#[test]
fn production_is_refused_with_each_setting_that_is_unfit_for_it() {
    let env = production(&[
        ("JWT_SECRET", "short"),
        ("BIZCENTER_AUTH__JWT_SECRET_PREVIOUS", "abababababababababababababababab"),
        ("CONTRACT_ENCRYPTION_KEY", "changeme-changeme-changeme-changeme"),
        ("CORS_ORIGINS", "*"),
        ("DATABASE_URL", "oracle://u:hunter2@h/d"),
        ("REDIS_URL", "http://u:hunter2@h"),
        ("BIZCENTER_PIZZA", "1"),
    ]);
    assert_eq!(
        refused(&env, &[]),
        "BIZCENTER_PIZZA (from the environment): there is no such setting\n\
         database.url (from DATABASE_URL): must start with sqlite://, postgres://, postgresql://, mysql:// or \
         mariadb://\n\
         redis.url (from REDIS_URL): must start with redis:// or rediss://\n\
         auth.jwt_secret (from JWT_SECRET): must have at least 32 bytes\n\
         auth.jwt_secret_previous (from BIZCENTER_AUTH__JWT_SECRET_PREVIOUS): must have at least 8 different \
         characters; make one by `openssl rand -base64 48`\n\
         encryption.key (from CONTRACT_ENCRYPTION_KEY): looks like a placeholder (it contains \"changeme\"); make one \
         by `openssl rand -base64 48`\n\
         cors.origins (from CORS_ORIGINS): may be * in development only; list the origins"
    );
}

#[test]
fn a_misspelt_environment_is_strict() {
    let problems = refused(&[("APP_ENV", "prodution"), ("CORS_ORIGINS", "*")], &[]);
    assert!(problems.contains("environment (from APP_ENV): must be development, staging or production"), "{problems}");
    assert!(problems.contains("auth.jwt_secret: is missing"), "{problems}");
    assert!(problems.contains("cors.origins (from CORS_ORIGINS): may be * in development only"), "{problems}");
}

#[test]
fn development_is_forgiving_but_not_about_length() {
    let weak = "your-secret-key-your-secret-key-0123";
    let config = load(&[("JWT_SECRET", weak), ("CORS_ORIGINS", "*"), ("BIZCENTER_AUTH__BCRYPT_COST", "4")], &[]);
    assert_eq!((config.cors.origins, config.auth.bcrypt_cost), (Origins::Any, 4));
    assert_eq!(
        refused(&[("JWT_SECRET", "short"), ("CONTRACT_ENCRYPTION_KEY", "short")], &[]),
        "auth.jwt_secret (from JWT_SECRET): must have at least 32 bytes\n\
         encryption.key (from CONTRACT_ENCRYPTION_KEY): must have at least 32 characters"
    );
}

#[test]
fn incomplete_or_contradictory_parts_are_refused() {
    assert_eq!(refused(&[("DB_HOST", "h")], &[]), "database.url (from DB_HOST): DB_NAME is missing");
    assert_eq!(
        refused(&[("DB_HOST", "h"), ("DB_NAME", "d"), ("DATABASE_URL", "mysql://h/d")], &[]),
        "database.url: DATABASE_URL and DB_HOST, DB_NAME have different values; keep one"
    );
    assert_eq!(
        refused(&[("DB_HOST", "h"), ("DB_NAME", "d"), ("DB_PORT", "x"), ("DB_PASSWORD", "hunter2")], &[]),
        "database.url (from DB_HOST, DB_NAME, DB_PASSWORD, DB_PORT): DB_PORT must be a whole number from 1 to 65535"
    );
}

#[test]
fn production_has_a_secret_for_each_purpose() {
    let same = [("JWT_SECRET", STRONG), ("CONTRACT_ENCRYPTION_KEY", STRONG)];
    let told = "encryption.key (from CONTRACT_ENCRYPTION_KEY): must not be the same as auth.jwt_secret";
    assert_eq!(refused(&production(&same), &[]), told);
    load(&same, &[]); // development allows equal secrets
    let previous = production(&[("BIZCENTER_AUTH__JWT_SECRET_PREVIOUS", STRONG_TOO)]);
    assert!(refused(&previous, &[]).ends_with("must not be the same as auth.jwt_secret_previous"));
    let ring = "[encryption]\nactive = \"a\"\nkeys = [{id = \"a\", key_file = \"/run/a\"}]";
    let files = [("/run/a", STRONG), ("bizcenter.toml", ring)];
    let env = [("APP_ENV", "production"), ("JWT_SECRET", STRONG), ("CORS_ORIGINS", "*")];
    let problems = refused(&env, &files);
    assert!(problems.contains("encryption.keys (from bizcenter.toml): must not be the same as"), "{problems}");
    assert!(problems.contains("cors.origins"), "all of them are told: {problems}");
}

#[test]
fn quotes_that_docker_kept_are_named() {
    let told = |setting: &str, name: &str, file: &str| {
        let message =
            "is in quotation marks, which are part of the value here (docker's --env-file keeps them): leave them out";
        format!("{setting} (from {name}): {message}{file}")
    };
    let (secret, single) = (format!("\"{STRONG}\""), format!("'{STRONG}'"));
    let redis = "\"redis://:hunter2@h\"";
    for (name, value, setting) in [
        ("JWT_SECRET", secret.as_str(), "auth.jwt_secret"),
        ("JWT_SECRET", &single, "auth.jwt_secret"),
        ("CONTRACT_ENCRYPTION_KEY", &secret, "encryption.key"),
        ("PORT", "'8000'", "server.port"),
        ("MAIL_FROM", "\"BizCenter <a@b.example>\"", "mail.from"),
        ("BIZCENTER_AUTH__ISSUER", "\"us\"", "auth.issuer"),
        ("REDIS_URL", redis, "redis.url"),
        ("RATE_LIMIT_PER_MINUTE", "\"20\"", "rate_limit.user_per_hour"),
        ("APP_ENV", "\"development\"", "environment"),
    ] {
        let file = format!(", or put a value that really has them into a file, which {name}_FILE names");
        assert_eq!(refused(&[(name, value)], &[]), told(setting, name, &file));
    }
    let parts = [("DB_HOST", "h"), ("DB_NAME", "d"), ("DB_USER", "u"), ("DB_PASSWORD", "'hunter2'")];
    assert!(refused(&parts, &[]).starts_with("database.url (from DB_PASSWORD): is in quotation marks"));
    let key = ("/run/jwt", STRONG);
    assert_eq!(refused(&[("JWT_SECRET_FILE", "\"/run/jwt\"")], &[key]), told("auth.jwt_secret", "JWT_SECRET_FILE", ""));
    let problems = refused(&production(&[("JWT_SECRET", "\"changeme-changeme-changeme-changeme\"")]), &[]);
    assert!(
        problems.contains("quotation marks") && problems.contains("looks like a placeholder"),
        "all of them: {problems}"
    );
}

#[test]
fn quotes_that_are_part_of_a_value_are_left_to_it() {
    let [first, last, both] = [format!("\"{STRONG}"), format!("{STRONG}'"), format!("\"{STRONG}'")];
    for secret in [&first, &last, &both] {
        assert_eq!(load(&[("JWT_SECRET", secret)], &[]).auth.jwt_secret.expose_secret(), secret);
    }
    let quoted = format!("\"{STRONG}\"");
    let in_file = load(&[("JWT_SECRET_FILE", "/run/jwt")], &[("/run/jwt", &quoted)]);
    assert_eq!(in_file.auth.jwt_secret.expose_secret(), quoted);
    let in_dotenv = load(&[], &[(".env", &format!("JWT_SECRET={quoted}"))]);
    assert_eq!(in_dotenv.auth.jwt_secret.expose_secret(), STRONG);
    assert_eq!(load(&[("MAIL_FROM", "\"Acme, Inc.\" <a@b.example>")], &[]).mail.from, "\"Acme, Inc.\" <a@b.example>");
}

#[test]
fn no_secret_is_shown() {
    let password = "hunter2hunter2hunter2hunter2hunter2hunter2";
    let url = format!("postgres://u:{password}@h/d");
    let (redis, smtp) = (format!("redis://:{password}@h"), format!("smtp://u:{password}@h"));
    let key = PRIVATE_KEY.replace("MC4C", password);
    let env = [
        ("JWT_SECRET", password),
        ("CONTRACT_ENCRYPTION_KEY", password),
        ("DATABASE_URL", &url),
        ("REDIS_URL", &redis),
        ("SMTP_URL", &smtp),
        ("JWT_KEY", &key),
        ("BIZCENTER_AUTH__JWT_KEY_PREVIOUS", &key),
    ];
    let loaded = Config::load(&sources(&env, &[])).unwrap();
    let shown = format!("{loaded:?}");
    assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
    assert_eq!(loaded.settings.len(), SETTINGS.len());
    let numbers = "[auth]\njwt_secret = 4242\n[encryption]\nkey = [4242]\n[database]\nurl = 4242\n";
    assert!(!refused(&[], &[("bizcenter.toml", numbers)]).contains("4242"));
    assert!(!refused(&production(&env), &[]).contains("hunter2"));
}

#[test]
fn the_examples_work_in_development() {
    let key = ("/run/secrets/jwt_key.pem", PRIVATE_KEY);
    load(&[], &[(".env", ENV_EXAMPLE)]);
    let all = ENV_EXAMPLE.lines().map(uncommented).filter(|line| !line.starts_with("DATABASE_URL"));
    let config = load(&[], &[(".env", &all.collect::<Vec<_>>().join("\n")), key]);
    assert_eq!(config.server.trusted_proxies.len(), 2);
}

#[test]
fn the_examples_secrets_are_refused_elsewhere() {
    let with_name = |text: &str, names: &[&str]| {
        let lines = text.lines().map(|line| uncommented(line).to_owned());
        lines.filter(|line| names.iter().any(|name| line.starts_with(name))).collect::<Vec<_>>()
    };
    let from_env = with_name(ENV_EXAMPLE, &["JWT_SECRET=", "CONTRACT_ENCRYPTION_KEY="]);
    let from_toml = with_name(DEFAULT_FILE, &["jwt_secret = ", "jwt_secret_previous = ", "key = "]);
    assert_eq!((from_env.len(), from_toml.len()), (2, 3));
    for example in from_env.iter().chain(&from_toml) {
        let secret = example.split_once('=').unwrap().1.trim().trim_matches('"');
        let problems = refused(&production(&[("JWT_SECRET", secret)]), &[]);
        assert!(problems.contains("auth.jwt_secret (from JWT_SECRET): looks like a placeholder"), "{problems}");
    }
}
