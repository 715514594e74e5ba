//! `bizcenter serve`: migrates, listens, serves until it is told to stop.
use crate::app;
use crate::config::{Config, LogConfig, LogFormat};
use crate::db::migrations;
use crate::http::serve::{ServeOptions, serve, stop_signal};
use crate::infra::world::World;
use anyhow::Context;
use std::io::IsTerminal;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub async fn run(config: Config) -> anyhow::Result<()> {
    start_logging(&config.log);
    let target = app::target(&config)?;
    tracing::info!(environment = %config.environment, database = target.kind(), "Starting");
    migrations::up(&target).await?;
    let parts = app::connect(&config, World::real()).await?;
    parts.warn_of_powerful_role().await;
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
    let options = ServeOptions {
        header_timeout: config.server.header_timeout,
        drain_timeout: config.server.drain_timeout,
        max_connections: config.server.max_connections,
    };
    if let Some(listener) = metrics {
        tokio::spawn(serve(listener, parts.metrics.endpoint(), options, stop.clone()));
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

/// One line an event on standard error; for people in development, as JSON elsewhere.
fn start_logging(config: &LogConfig) {
    // The level is ours alone: a database driver's debug log has every value in it, hashes of passwords too.
    let filter = tracing_subscriber::EnvFilter::new(format!("warn,bizcenter={}", config.level));
    let is_terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal);
    match config.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
