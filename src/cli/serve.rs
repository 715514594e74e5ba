//! `bizcenter serve`: migrates the database, listens, and serves until a signal stops it.
use crate::app;
use crate::base::env::Env;
use crate::config::{Config, LogConfig, LogFormat};
use crate::db::audit_chain::HEADS;
use crate::db::migrations;
use crate::server::serve::{serve, stop_signal};
use anyhow::Context;
use std::io::IsTerminal;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

pub async fn run(config: Config) -> anyhow::Result<()> {
    start_logging(&config.log);
    let target = app::target(&config)?;
    tracing::info!(environment = %config.environment, database = target.kind(), "Starting");
    migrations::up(&target).await?;
    let parts = app::connect(&config, Env::real()).await?;
    parts.verify_keys().await?;
    parts.warn_of_powerful_role().await;
    let looking = parts.clone();
    // This must not delay the start while Redis is away.
    tokio::spawn(async move { looking.warn_of_missing_rights().await });
    parts.probe_search().await;
    let endpoint = app::server(&parts, &config);
    let listener = listen("server.port", config.server.address()).await?;
    let metrics = match config.metrics.address {
        Some(address) => Some(listen("metrics.address", address).await?),
        None => None,
    };
    if let Some(listener) = &metrics {
        tracing::info!("Metrics at http://{}/metrics", listener.local_addr()?);
    }
    if config.server.docs_enabled {
        tracing::info!("Documentation at http://{}/docs", listener.local_addr()?);
    }
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        stop_signal().await;
        stopping.cancel();
    });
    let options = app::serve_options(&parts, &config.server);
    if let Some(listener) = metrics {
        tokio::spawn(serve(listener, parts.metrics.endpoint(), options.clone(), stop.clone()));
    }
    let (poll, drain) = (config.jobs.poll, config.server.drain_timeout);
    let jobs = config.jobs.enabled.then(|| tokio::spawn(parts.jobs.clone().run(poll, drain, stop.clone())));
    serve(listener, endpoint, options, stop).await.context("serving failed")?;
    if let Some(jobs) = jobs {
        jobs.await.context("the jobs stopped badly")?;
    }
    tracing::info!("Stopped");
    Ok(())
}

async fn listen(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{setting}: {address} can't be listened on"))
}

/// The level applies to this program only, because the debug log of a database driver has every value in it, also
/// hashes of passwords. The heads of audit chains are logged at any level: without them nobody could prove that the end
/// of a chain was cut off.
fn filter(level: &str) -> EnvFilter {
    let is_for_part = level.split(',').next().is_some_and(|first| first.contains('='));
    let ours = if is_for_part { "" } else { "bizcenter=" };
    EnvFilter::new(format!("warn,{HEADS}=info,{ours}{level}"))
}

/// Logs each event as one line on standard error. Unless the settings say otherwise, this is text in development and
/// JSON elsewhere.
fn start_logging(config: &LogConfig) {
    let filter = filter(&config.level);
    let is_terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal);
    match config.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::test_log::TestLog;

    #[test]
    fn heads_are_logged_at_any_level_unless_they_are_turned_off_themselves() {
        let told = |level: &str| {
            let (log, _until_here) = TestLog::start(filter(level));
            tracing::info!(target: HEADS, "a head");
            tracing::info!(target: "bizcenter::db", "something");
            (log.text().contains("a head"), log.text().contains("something"))
        };
        assert_eq!(told("info"), (true, true));
        for level in ["warn", "error", "off", "info,bizcenter::db=warn"] {
            assert_eq!(told(level), (true, false), "{level}");
        }
        assert_eq!(told(&format!("warn,{HEADS}=off")), (false, false));
        assert_eq!(told("bizcenter::db=debug"), (true, true), "of one part alone");
        assert_eq!(told("bizcenter::server=debug"), (true, false));
    }
}
