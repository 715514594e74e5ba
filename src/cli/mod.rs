//! The command line. Each command has its own file. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

mod audit;
mod completions;
mod config;
mod create_tenant;
mod create_user;
mod health;
mod keys;
mod log;
mod migrate;
mod openapi;
mod prompt;
mod search;
mod seed;
mod serve;

use crate::app;
use crate::app::Parts;
use crate::base::env::Env;
use crate::config::{Config, ConfigError, Loaded, MissingSecrets, Sources};
use crate::db::Origin;
use crate::db::audit_chain::KnownHead;
use crate::db::types::TenantId;
use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const FAILED: u8 = 1;
const MISCONFIGURED: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "bizcenter", version, about = "The BizCenter API server", after_help = EXAMPLES)]
struct Cli {
    /// The configuration file; without it, ./bizcenter.toml if that exists
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  bizcenter                                    Serve on SQLite in ./data, at http://127.0.0.1:8000
  bizcenter --config /etc/bizcenter.toml       Serve with the settings of a file
  bizcenter create-user --email a@example.com --name Ada --superuser
  bizcenter config default > bizcenter.toml    Start a configuration file

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API (the default); migrates the database first
    Serve,
    /// Change the database's schema, or tell its state
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// Create a tenant; asks for what is missing
    CreateTenant(CreateTenantArgs),
    /// Create a user; asks for what is missing, the password hidden and confirmed
    CreateUser(CreateUserArgs),
    /// Make tenants to try things on: people of each role, tasks and comments
    Seed(SeedArgs),
    /// Look after the audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look after the encryption keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Look after the search
    #[command(subcommand)]
    Search(SearchCommand),
    /// Print the API contract (OpenAPI)
    Openapi(OpenapiArgs),
    /// Print the default configuration, or check the one in force
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a running server whether it is alive; exit code 0 if so, else 1
    Health(HealthArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  bizcenter completions bash > /etc/bash_completion.d/bizcenter")]
    Completions { shell: clap_complete::Shell },
}

/// What to do with the schema.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum MigrateCommand {
    /// Apply all migrations that are missing
    Up,
    /// Undo the latest migrations
    Down {
        /// How many to undo
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
        /// Don't ask: the data that these migrations hold is lost
        #[arg(long)]
        yes: bool,
    },
    /// List the migrations, and which are applied
    Status,
}

/// The tenant to create; what is absent is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "Example:\n  bizcenter create-tenant --slug acme --name 'Acme Ltd'")]
pub struct CreateTenantArgs {
    /// Its short name: 3 to 50 of a-z, 0-9 and -
    #[arg(long)]
    pub slug: Option<String>,
    /// Its name for people
    #[arg(long)]
    pub name: Option<String>,
    /// Let anybody register as a viewer
    #[arg(long)]
    pub open_registration: bool,
}

/// The user to create; what is absent is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  bizcenter create-user --email ada@example.com --name Ada --tenant acme --role editor
  bizcenter create-user --email ada@example.com --name Ada --superuser --password-stdin < password.txt")]
pub struct CreateUserArgs {
    /// Their e-mail address, with which they sign in
    #[arg(long)]
    pub email: Option<String>,
    /// Their name for people
    #[arg(long)]
    pub name: Option<String>,
    /// The slug of their tenant
    #[arg(long, value_name = "SLUG")]
    pub tenant: Option<String>,
    /// What they may do in their tenant
    #[arg(long, value_parser = ["owner", "admin", "editor", "analyst", "viewer"])]
    pub role: Option<String>,
    /// The same as --role admin
    #[arg(long, conflicts_with = "role")]
    pub admin: bool,
    /// Make them an operator of the whole server
    #[arg(long)]
    pub superuser: bool,
    /// Read the password from standard input (its first line) instead of asking
    #[arg(long)]
    pub password_stdin: bool,
}

/// What to make. The same seed makes the same words, under the next free name.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  bizcenter seed
  bizcenter seed --tenants 20 --users 50 --tasks 1000000")]
pub struct SeedArgs {
    /// How many tenants
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub tenants: u32,
    /// How many people each has, at least one of each role
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(5..=1000))]
    pub users: u32,
    #[command(flatten)]
    pub amounts: seed::Amounts,
    /// What names, titles and dates follow from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Leave out what the search needs, until `bizcenter search rebuild`: for millions of records
    #[arg(long)]
    pub no_search: bool,
    /// Read everybody's password from standard input (its first line) instead of inventing one
    #[arg(long)]
    pub password_stdin: bool,
    /// Don't ask, also where this is no development
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum AuditCommand {
    /// Check that no sealed row was edited or removed; exit code 1 if one was
    #[command(after_help = "\
Examples:
  bizcenter audit verify
  bizcenter audit verify --head 01993c3e-6a00-7c3e-8f6e-0000000000aa:41:9f86d081884c7d65…

The server logs such a head (audit.head) each time it seals rows. Kept outside of the database, it shows an end that was
cut off, or a log that was rewritten.")]
    Verify {
        /// A head that was logged; may be given several times
        #[arg(long, value_name = "TENANT:ROWS:HASH", value_parser = parse_head)]
        head: Vec<KnownHead>,
        /// The slug of one tenant; all of them without it
        #[arg(long, value_name = "SLUG")]
        tenant: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum KeysCommand {
    /// Encrypt under the active master key what older ones have encrypted; servers may run meanwhile
    #[command(after_help = "\
To replace a master key:
  1. Give all servers the new key in encryption.keys, beside the old one, which stays encryption.active; restart them.
  2. Make the new key encryption.active on all servers; restart them.
  3. bizcenter keys rotate
  4. Take the old key out of the settings.

With --data, tenants get new data keys too, and their values are encrypted anew under these: for when the old master key
may have become known to somebody who may also have read the database.

It can be stopped and begun again.")]
    Rotate {
        /// Encrypt the tenants' values anew, too, under new data keys
        #[arg(long)]
        data: bool,
    },
    /// List the master keys, what is encrypted under each, and whether it opens; exit code 1 if something does not
    Status,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum SearchCommand {
    /// Index all texts anew; servers may run meanwhile
    #[command(after_help = "\
Servers keep the search equal to the records. This is for databases with records that are older than the search, or that were
changed by hand. It can be stopped and begun again.")]
    Rebuild {
        /// The slug of one tenant; all of them without it
        #[arg(long, value_name = "SLUG")]
        tenant: Option<String>,
    },
}

fn parse_head(text: &str) -> Result<KnownHead, &'static str> {
    KnownHead::parse(text).ok_or("is no head as the server logs it: TENANT:ROWS:HASH")
}

/// How to print the API contract.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "Example:\n  bizcenter openapi --format yaml --output openapi.yaml")]
struct OpenapiArgs {
    #[arg(long, value_enum, default_value_t)]
    format: OpenapiFormat,
    /// The file to write; without it, standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OpenapiFormat {
    #[default]
    Json,
    Yaml,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
enum ConfigCommand {
    /// Print every setting with its default: the reference, and the start of your own file
    Default,
    /// Validate the configuration and print what is in force, and from where; secrets as ***
    Check,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "Example:\n  bizcenter health --url http://10.0.0.7:8000/readyz")]
struct HealthArgs {
    /// What to ask; without it, /livez of the server that the configuration describes
    #[arg(long)]
    url: Option<String>,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let Cli { config, command } = Cli::parse();
    finish(run(config, command.unwrap_or(Command::Serve)))
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let (code, message) = match error.downcast_ref::<ConfigError>() {
        Some(refused) => (MISCONFIGURED, format!("the configuration can't be used:\n{refused}")),
        None => (FAILED, format!("{error:#}")),
    };
    // If nobody reads standard error any more, the exit code still reports the failure.
    let _ = writeln!(io::stderr(), "bizcenter: {message}");
    ExitCode::from(code)
}

fn run(file: Option<PathBuf>, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Openapi(args) => openapi::run(&args),
        Command::Completions { shell } => completions::run(shell),
        Command::Config(ConfigCommand::Default) => config::print_default(),
        Command::Config(ConfigCommand::Check) => config::print_effective(&checked(look(file)?)?),
        Command::Health(HealthArgs { url: Some(url) }) => block_on(health::run(health::Target::parse(&url)?)),
        Command::Health(HealthArgs { url: None }) => {
            block_on(health::run(health::Target::of(&look(file)?.config.server)))
        }
        Command::Serve => block_on(serve::run(load(file)?)),
        Command::Migrate(command) => block_on(migrate::run(load(file)?, command)),
        Command::CreateTenant(args) => block_on(create_tenant::run(load(file)?, args)),
        Command::Audit(AuditCommand::Verify { head, tenant }) => block_on(audit::verify(load(file)?, head, tenant)),
        Command::Keys(KeysCommand::Rotate { data }) => block_on(keys::rotate(load(file)?, data)),
        Command::Keys(KeysCommand::Status) => block_on(keys::status(load(file)?)),
        Command::Search(SearchCommand::Rebuild { tenant }) => block_on(search::rebuild(load(file)?, tenant)),
        Command::Seed(args) => block_on(seed::run(load(file)?, args)),
        Command::CreateUser(args) => block_on(create_user::run(load(file)?, args)),
    }
}

/// Loads the settings for a command that uses them. In development, secrets that are missing are created.
fn load(file: Option<PathBuf>) -> Result<Config, ConfigError> {
    let env = Env::real();
    let random = Box::new(move || env.random_bytes());
    Ok(checked(Config::load(&Sources::of_process(file, MissingSecrets::Make(random))?)?)?.config)
}

/// Returns the settings if everything that they name can be used.
fn checked(loaded: Loaded) -> Result<Loaded, ConfigError> {
    app::check::check(&loaded)?;
    Ok(loaded)
}

/// Loads the settings for a command that only looks at them. Nothing is written to the disk.
fn look(file: Option<PathBuf>) -> Result<Loaded, ConfigError> {
    Config::load(&Sources::of_process(file, MissingSecrets::Imagine)?)
}

/// The parts of a server, for a command that encrypts. Fails if the keys are not those under which the database is
/// encrypted.
async fn connect(config: &Config) -> anyhow::Result<Parts> {
    let parts = app::connect(config, Env::real()).await?;
    parts.verify_keys().await?;
    Ok(parts)
}

/// A progress bar on standard error. It is hidden if that is no terminal.
fn progress(length: u64, what: &str) -> ProgressBar {
    let template = format!("{{bar:40}} {{pos}} of {{len}} {what}, {{eta}} left {{msg}}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

/// The tenant with this slug, or all tenants.
async fn tenants(parts: &Parts, slug: Option<String>) -> anyhow::Result<Vec<TenantId>> {
    let no_answer = "the database does not answer";
    match slug {
        Some(slug) => {
            let found = parts.db.find_tenant(&slug, &Origin::default()).await.context(no_answer)?;
            Ok(vec![found.with_context(|| format!("there is no tenant {slug}"))?.0])
        }
        None => parts.db.tenants().await.context(no_answer),
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("the async runtime can't be started")?.block_on(command)
}

/// Writes to standard output. A reader that has gone away (`| head`) is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("can't write to standard output"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Problem;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::error::ErrorKind> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.kind())
    }

    fn create_user(line: &str) -> CreateUserArgs {
        match parse(line).unwrap().command {
            Some(Command::CreateUser(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_commands_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_is_the_default() {
        let cli = parse("bizcenter --config a.toml").unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.config, Some("a.toml".into()));
        let cli = parse("bizcenter config check --config a.toml").unwrap();
        assert_eq!(cli.config, Some("a.toml".into()), "it may stand after the command too");
    }

    #[test]
    fn users_are_described_by_options() {
        let args = create_user("bizcenter create-user --email a@b.c --name Ada --tenant acme --role editor");
        assert_eq!((args.email.as_deref(), args.role.as_deref()), (Some("a@b.c"), Some("editor")));
        assert!(create_user("bizcenter create-user --admin --superuser --password-stdin").superuser);
        for wrong in ["--role king", "--role editor --admin"] {
            assert!(parse(&format!("bizcenter create-user {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn migrations_are_undone_one_by_one_unless_told() {
        for (line, steps) in [("bizcenter migrate down", 1), ("bizcenter migrate down --steps 3", 3)] {
            let Some(Command::Migrate(command)) = parse(line).unwrap().command else { panic!("{line}") };
            assert_eq!(command, MigrateCommand::Down { steps, yes: false });
        }
        assert!(parse("bizcenter migrate down --steps 0").is_err());
    }

    #[test]
    fn version_and_help_exist() {
        assert_eq!(parse("bizcenter --version").unwrap_err(), clap::error::ErrorKind::DisplayVersion);
        assert_eq!(parse("bizcenter --help").unwrap_err(), clap::error::ErrorKind::DisplayHelp);
    }

    #[test]
    fn exit_codes_tell_usage_from_failure() {
        let problem = Problem { setting: "server.port".into(), origin: None, message: "is odd".into() };
        let code = |result| format!("{:?}", finish(result));
        assert_eq!(code(Ok(())), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code(Err(anyhow::anyhow!("no"))), format!("{:?}", ExitCode::from(1)));
        assert_eq!(code(Err(ConfigError { problems: vec![problem] }.into())), format!("{:?}", ExitCode::from(2)));
    }
}
