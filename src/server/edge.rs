//! The outermost layer, through which all requests and answers pass, whichever endpoint they belong to.
//!
//! It handles request ids, the client's address, the body limit, the deadline, panics, the API's error body, `OPTIONS`,
//! CORS, compression, security headers and the access log.
use crate::base::error::Error;
use crate::base::origins::Origins;
use crate::server::body_limit::BodyLimit;
use crate::server::old_paths::Path;
use crate::server::unsent::Unsent;
use crate::server::{compression, head_limit, old_paths, security};
use futures_util::FutureExt;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use poem::error::ResponseError;
use poem::http::{HeaderValue, Method, StatusCode, Version, header};
use poem::{Body, Endpoint, IntoResponse, Request, Response};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout_at;
use tracing::Instrument;

mod access_line;
#[cfg(test)]
mod body_tests;
mod failure;
mod refusal;
mod request_meta;
#[cfg(test)]
mod tests;

pub use access_line::ACCESS_LINES;
use access_line::AccessLine;
pub use refusal::refusal;
use request_meta::RequestMeta;

/// Returns the methods of a path as `Allow` lists them, or `None` for a path that nothing serves.
pub type Allow = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Makes request ids.
pub type Ids = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
pub struct EdgeOptions {
    pub trusted_proxies: Vec<IpNet>,
    /// The size limit of bodies. Uploads set a larger one with [`BodyLimit::transfer`].
    pub max_body_bytes: u64,
    /// How long a request may take until the head of its answer is ready. A streamed body may take longer.
    pub request_timeout: Duration,
    pub cors: Origins,
    /// The names of the headers that pages of these origins may read.
    pub exposed_headers: HeaderValue,
    /// Whether answers over HTTPS tell browsers to use only HTTPS from then on.
    pub hsts: bool,
    pub ids: Ids,
    pub allow: Allow,
    /// Whether paths of earlier systems are served too.
    pub old_paths: bool,
    /// Counts the answers that their clients have not read yet.
    pub unsent: Unsent,
}

pub fn edge<E: Endpoint + 'static>(endpoint: E, options: EdgeOptions) -> impl Endpoint<Output = Response> + 'static {
    Edge { endpoint, options }
}

struct Edge<E> {
    endpoint: E,
    options: EdgeOptions,
}

impl<E: Endpoint> Endpoint for Edge<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let asked_for = request.uri().path().to_owned();
        let path = if self.options.old_paths { old_paths::rewrite(&mut request) } else { Path::Current };
        let meta = RequestMeta::of(&mut request, &self.options);
        let line = AccessLine::begin(&meta);
        let span = tracing::info_span!("request", request.id = meta.id, operation = tracing::field::Empty);
        let response = match path {
            Path::Moved(to) => {
                Response::builder().status(StatusCode::PERMANENT_REDIRECT).header("location", to).finish()
            }
            _ => self.answer(request, &meta).instrument(span).await,
        };
        let mut response = self.finish(response, &meta, line.seconds()).await;
        if let Path::Old(new) = &path {
            old_paths::tell(new, response.headers_mut());
            old_paths::extend_cookies(&asked_for, response.headers_mut());
        }
        line.end(response.status());
        Ok(response)
    }
}

impl<E: Endpoint> Edge<E> {
    async fn answer(&self, mut request: Request, meta: &RequestMeta) -> Response {
        let limit = BodyLimit::wrap(&mut request, self.options.max_body_bytes, self.options.request_timeout);
        if meta.method == Method::OPTIONS {
            return self.methods(meta);
        }
        if let Some(status) = head_limit::excess(&request) {
            return Response::builder().status(status).finish();
        }
        if percent_decode_str(request.uri().path()).decode_utf8().is_err() {
            return Error::Malformed("The path is not UTF-8.".into()).as_response();
        }
        let is_http1 = request.version() < Version::HTTP_2;
        let result = self.in_time(request, &limit).await;
        let mut response = result.unwrap_or_else(|error| failure::answer_to(error, &meta.path, &self.options.allow));
        if let Some(fault) = limit.fault().filter(|_| failure::is_error(response.status())) {
            let fault = fault.as_response(); // the endpoint only knew that it could not read
            response.set_status(fault.status());
            response.extensions_mut().extend(fault.into_parts().0.extensions);
        }
        if limit.is_abandoned() && is_http1 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Calls the endpoint and returns its result. If the endpoint panics or misses the deadline, returns an error
    /// instead.
    async fn in_time(&self, request: Request, limit: &BodyLimit) -> poem::Result<Response> {
        let call = async { self.endpoint.call(request).await.map(IntoResponse::into_response) };
        let mut call = pin!(AssertUnwindSafe(call).catch_unwind());
        loop {
            let deadline = limit.deadline();
            match timeout_at(deadline, call.as_mut()).await {
                Ok(Ok(result)) => return result,
                Ok(Err(panic)) => return Ok(failure::answer_to_panic(&*panic)),
                Err(_) if limit.deadline() > deadline => {} // a transfer made progress, which moved the deadline
                Err(_) => return Err(limit.give_up().into()),
            }
        }
    }

    /// Answers OPTIONS, which no endpoint handles itself.
    fn methods(&self, meta: &RequestMeta) -> Response {
        let methods = (self.options.allow)(&meta.path).and_then(|methods| HeaderValue::from_str(&methods).ok());
        let Some(methods) = methods else { return Error::NotFound.as_response() };
        let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
        if meta.is_preflight {
            self.options.cors.allow_request(meta.origin.as_ref(), &methods, response.headers_mut());
        }
        response.headers_mut().insert(header::ALLOW, methods);
        response
    }

    async fn finish(&self, mut response: Response, meta: &RequestMeta, seconds: f64) -> Response {
        // a body of unknown length is streamed, so that little of it is in memory at a time
        let length = compression::length(&mut response).unwrap_or_default();
        let counted = meta.recipient.count(&meta.method, length);
        if let Err(error) = &counted {
            response = error.as_response();
        }
        let response = failure::render(response, meta, &self.options.allow);
        let mut response = meta.compression.apply(response).await;
        if let Ok(unread) = counted {
            unread.stay_with(&mut response);
        }
        self.options.cors.expose(meta.origin.as_ref(), &self.options.exposed_headers, response.headers_mut());
        security::harden(response.headers_mut(), self.options.hsts && meta.is_https);
        if let Ok(id) = HeaderValue::from_str(&meta.id) {
            response.headers_mut().insert("x-request-id", id);
        }
        if let Ok(time) = HeaderValue::from_str(&format!("{seconds:.6}")) {
            response.headers_mut().insert("x-process-time", time);
        }
        if meta.is_head() { without_body(response) } else { response }
    }
}

/// Makes the answer to a HEAD request: it has the headers of a GET, the length included, but no body.
fn without_body(mut response: Response) -> Response {
    if let Some(length) = compression::length(&mut response) {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    response.set_body(Body::empty());
    response
}
