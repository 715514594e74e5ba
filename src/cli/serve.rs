//! `bizcenter serve`: migrates the database, listens, and serves until a signal stops it.
use super::log;
use crate::app;
use crate::base::env::Env;
use crate::config::Config;
use crate::db::migrations;
use crate::server::serve::{serve, stop_signal};
use anyhow::Context;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub async fn run(config: Config) -> anyhow::Result<()> {
    let log = log::start(&config.log).context("the log can't be started")?;
    let target = app::target(&config)?;
    tracing::info!(environment = %config.environment, database = target.kind(), "Starting");
    migrations::up(&target).await?;
    let parts = app::connect(&config, Env::real()).await?;
    parts.metrics.count_lost_lines(log.lost_lines());
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
    drop(log); // the last access lines come before this
    tracing::info!("Stopped");
    Ok(())
}

async fn listen(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{setting}: {address} can't be listened on"))
}
