//! The HTTP server around the operations: pages, CORS, limits of bodies and connections.
use super::Parts;
use super::api::{Api, guarded};
use crate::api::guard;
use crate::api::pages::pages;
use crate::config::{Config, ServerConfig};
use crate::contract;
use crate::server::cors::exposed_headers;
use crate::server::edge::{EdgeOptions, Ids, edge, refusal};
use crate::server::paths::Paths;
use crate::server::serve::ServeOptions;
use crate::server::unsent::Unsent;
use poem::{Endpoint, EndpointExt, Response, Route, RouteMethod};
use poem_openapi::OpenApi;
use std::collections::HashMap;
use std::sync::Arc;

/// The paths of pages that people open in a browser. They are not in the API contract.
const PAGES: [&str; 5] = ["/openapi.json", "/openapi.yaml", "/docs", "/redoc", "/scalar"];

/// The whole server: every operation behind its guard, the pages, and the edge around them.
pub fn server(parts: &Parts, config: &Config) -> impl Endpoint<Output = Response> + 'static {
    let mut methods = guard::allowed_methods::<Api>();
    let route = if config.server.docs_enabled {
        methods.extend(PAGES.map(|path| (path.to_owned(), "GET, HEAD, OPTIONS".to_owned())));
        pages()
    } else {
        Route::new()
    };
    let paths = Paths::new(methods);
    let options = EdgeOptions {
        trusted_proxies: config.server.trusted_proxies.clone(),
        max_body_bytes: config.server.max_body_bytes as u64,
        request_timeout: config.server.request_timeout,
        cors: config.cors.origins.clone(),
        exposed_headers: exposed_headers(contract::RESPONSE_HEADERS.lines()),
        hsts: !config.environment.is_development(),
        ids: request_ids(parts),
        allow: Arc::new(move |path| paths.allowed(path)),
        old_paths: config.server.old_paths_enabled,
        unsent: Unsent::new(config.server.max_unsent_bytes),
    };
    edge(with_operations(route, parts).data(parts.authenticator.clone()), options)
}

/// Adds the operations to the routes of the pages. If an `OpenApiService` were nested into them, each request would pass
/// through five more boxed futures, with its URL read twice.
fn with_operations(pages: Route, parts: &Parts) -> Route {
    let mut paths = HashMap::new();
    guarded(parts).add_routes(&mut paths);
    paths.into_iter().fold(pages, |route, (path, operations)| {
        let operations = operations.into_iter();
        route.at(path, operations.fold(RouteMethod::new(), |route, (method, endpoint)| route.method(method, endpoint)))
    })
}

/// How connections are served.
pub fn serve_options(parts: &Parts, config: &ServerConfig) -> ServeOptions {
    ServeOptions {
        header_timeout: config.header_timeout,
        write_timeout: config.write_timeout,
        drain_timeout: config.drain_timeout,
        max_connections: config.max_connections,
        max_connections_per_address: config.max_connections_per_address,
        trusted_proxies: config.trusted_proxies.clone(),
        refusal: refusal(request_ids(parts)),
    }
}

fn request_ids(parts: &Parts) -> Ids {
    let env = parts.env.clone();
    Arc::new(move || env.uuid().to_string())
}
