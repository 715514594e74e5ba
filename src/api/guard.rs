//! Wraps every operation. It completes what the derive declares about the operation, and turns every error into the one
//! error body.
use super::content::{IfRange, Ranges};
use super::headers::{IdempotencyKey, IfMatch, IfNoneMatch};
use super::query::{SPREAD, pairs, unreadable};
use crate::base::error::{Detail, Error};
use crate::base::error_body::{declare, header};
use crate::base::request::LimitReport;
use futures_util::FutureExt;
use poem::endpoint::BoxEndpoint;
use poem::error::{ReadBodyError, ResponseError};
use poem::http::Method;
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response};
use poem_openapi::OpenApi;
use poem_openapi::error::{ContentTypeError, ParsePathError};
use poem_openapi::registry::{
    MetaApi, MetaHeader, MetaOperation, MetaOperationParam, MetaParamIn, MetaSchema, MetaSchemaRef, Registry,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::AssertUnwindSafe;

/// The prefix of a permission among the security schemes of an operation. The derive offers no other place where an
/// argument can add something to its operation. The guard removes the entry from the document again.
pub const PERMISSION: &str = "permission:";

/// Wraps an API, as in `Guarded(TasksApi::new(db))`.
pub struct Guarded<T>(pub T);

impl<T: OpenApi> OpenApi for Guarded<T> {
    fn meta() -> Vec<MetaApi> {
        let mut apis = T::meta();
        let paths = apis.iter_mut().flat_map(|api| &mut api.paths);
        let operations = paths.flat_map(|path| {
            let is_of_api = is_of_api(&path.path);
            path.operations.iter_mut().map(move |operation| (operation, is_of_api))
        });
        for (operation, is_of_api) in operations {
            operation.params = std::mem::take(&mut operation.params).into_iter().flat_map(spread).collect();
            operation.security.retain(|scheme| !scheme.keys().any(|name| name.starts_with(PERMISSION)));
            let declared = statuses(operation);
            if operation.params.iter().any(|parameter| parameter.name == IdempotencyKey::NAME) {
                declare_replays(operation);
            }
            let missing = automatic(operation, is_of_api).into_iter().filter(|status| !declared.contains(status));
            operation.responses.responses.extend(missing.map(declare));
            operation.responses.responses.sort_by_key(|response| response.status);
        }
        apis
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn add_routes(self, routes: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        let mut inner = HashMap::new();
        self.0.add_routes(&mut inner);
        for path in Self::meta().into_iter().flat_map(|api| api.paths) {
            let (route, names) = numbered(&path.path);
            for operation in path.operations {
                let arguments: Vec<_> = operation.params.iter().filter(|p| p.in_type == MetaParamIn::Path).collect();
                let in_order = arguments.iter().map(|argument| &argument.name).eq(&names);
                assert!(in_order, "{}: the arguments must stand in the order of the path", path.path);
                let endpoint = inner.get_mut(&route).and_then(|methods| methods.remove(&operation.method));
                #[expect(clippy::expect_used, reason = "at start: the derive makes both from one method")]
                let endpoint = endpoint.expect("an endpoint for each operation");
                let guard = Guard {
                    endpoint,
                    operation: operation.operation_id.unwrap_or("unnamed"),
                    path_names: names.clone(),
                    takes_no_query: is_of_api(&path.path) && !takes(&operation, MetaParamIn::Query),
                    declared: statuses(&operation),
                };
                routes.entry(route.clone()).or_default().insert(operation.method, guard.boxed());
            }
        }
    }
}

/// One line of `operations.txt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationLine {
    pub id: &'static str,
    pub method: Method,
    pub path: String,
    /// `public`, or the permission and its roles, as in `tasks::Delete Editor/Admin`. The first role is the lowest that
    /// has the permission for the caller's own records, the second the lowest that has it for records of others, or
    /// `Nobody`. After them, `people` means that API keys are refused.
    pub permission: String,
}

/// All operations of an API, in the order of its code.
pub fn operations<T: OpenApi>() -> Vec<OperationLine> {
    let mut lines = vec![];
    for path in T::meta().into_iter().flat_map(|api| api.paths) {
        for operation in path.operations {
            let permission = permission(&operation);
            let id = operation.operation_id.unwrap_or("unnamed");
            lines.push(OperationLine { id, method: operation.method, path: path.path.clone(), permission });
        }
    }
    lines
}

fn permission(operation: &MetaOperation) -> String {
    let mut names = operation.security.iter().flat_map(|scheme| scheme.keys().copied());
    let name = names.find_map(|name| name.strip_prefix(PERMISSION)).unwrap_or("public");
    name.rsplit("resources::").next().unwrap_or_default().to_owned()
}

/// The methods of each path as `Allow` lists them, for the edge. A path with GET also answers HEAD. The edge itself
/// answers OPTIONS.
pub fn allowed_methods<T: OpenApi>() -> BTreeMap<String, String> {
    let mut allowed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for OperationLine { method, path, .. } in operations::<T>() {
        let methods = allowed.entry(path).or_insert_with(|| ["OPTIONS".to_owned()].into());
        if method == Method::GET {
            methods.insert("HEAD".to_owned());
        }
        methods.insert(method.to_string());
    }
    allowed.into_iter().map(|(path, methods)| (path, methods.into_iter().collect::<Vec<_>>().join(", "))).collect()
}

fn statuses(operation: &MetaOperation) -> HashSet<u16> {
    operation.responses.responses.iter().filter_map(|response| response.status).collect()
}

/// Declares the header of a replayed answer, for operations that take an `Idempotency-Key`.
fn declare_replays(operation: &mut MetaOperation) {
    for created in operation.responses.responses.iter_mut().filter(|response| response.status == Some(201)) {
        created.headers.push(MetaHeader { required: false, ..header("Idempotency-Replayed", "string") });
    }
}

/// Whether a path belongs to the API. The probes do not: they are for load balancers, which could not handle rate
/// limits or refused parameters.
fn is_of_api(path: &str) -> bool {
    path.starts_with("/api/")
}

fn takes(operation: &MetaOperation, kind: MetaParamIn) -> bool {
    operation.params.iter().any(|parameter| parameter.in_type == kind)
}

/// The error statuses that follow from the body and parameters of an operation.
fn automatic(operation: &MetaOperation, is_of_api: bool) -> Vec<u16> {
    let takes = |kind| takes(operation, kind);
    let takes_body = operation.request.is_some();
    let mut statuses = vec![500, 503];
    if is_of_api {
        statuses.extend([400, 429]); // unknown parameters are refused everywhere
        if operation.method != Method::GET {
            statuses.push(507); // each of these may write
        }
    }
    if takes_body || takes(MetaParamIn::Query) {
        statuses.extend([400, 422]);
    }
    if takes_body {
        statuses.extend([413, 415]);
    }
    if takes(MetaParamIn::Path) {
        statuses.extend([400, 404]);
    }
    if operation.params.iter().any(|parameter| parameter.name == IfMatch::NAME) {
        statuses.push(412);
    }
    if !operation.security.is_empty() {
        statuses.extend([401, 403]);
    }
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

/// Replaces the single argument of a `Query<…>` by its parameters, and gives headers their HTTP names.
fn spread(mut parameter: MetaOperationParam) -> Vec<MetaOperationParam> {
    match &parameter.schema {
        MetaSchemaRef::Inline(schema) if schema.title.as_deref() == Some(SPREAD) => {
            let member = |(name, member): &(&'static str, MetaSchemaRef)| {
                let (schema, description) = split_description(member.clone());
                MetaOperationParam {
                    name: name.to_string(),
                    explode: !schema.is_array(), // the items of a list are separated by commas
                    schema,
                    in_type: MetaParamIn::Query,
                    description: description.map(str::to_owned),
                    required: schema_requires(&parameter.schema, name),
                    deprecated: false,
                    style: None,
                }
            };
            schema.properties.iter().map(member).collect()
        }
        _ => {
            if let Some(name) = header_name(&parameter.name).filter(|_| parameter.in_type == MetaParamIn::Header) {
                parameter.name = name.to_owned();
            }
            vec![parameter]
        }
    }
}

fn schema_requires(object: &MetaSchemaRef, name: &str) -> bool {
    matches!(object, MetaSchemaRef::Inline(schema) if schema.required.contains(&name))
}

/// Separates the description from a schema. OpenAPI has the description of a member in its schema, but that of a
/// parameter beside it.
fn split_description(member: MetaSchemaRef) -> (MetaSchemaRef, Option<&'static str>) {
    let MetaSchemaRef::Inline(mut schema) = member else { return (member, None) };
    let description = schema.description.take();
    if let [reference @ MetaSchemaRef::Reference(_), MetaSchemaRef::Inline(extra)] = &mut schema.all_of[..] {
        extra.description = None;
        if **extra == MetaSchema::ANY {
            return (reference.clone(), description);
        }
    }
    (MetaSchemaRef::Inline(schema), description)
}

/// The HTTP name of a header argument. The derive names it after the argument, as in `if_match: IfMatch`.
fn header_name(argument: &str) -> Option<&'static str> {
    [IfMatch::NAME, IfNoneMatch::NAME, IdempotencyKey::NAME, Ranges::NAME, IfRange::NAME]
        .into_iter()
        .find(|name| name.replace('-', "_").eq_ignore_ascii_case(argument))
}

/// The route that the derive makes of a path, and the names of its parameters. `/tasks/{task_id}` becomes
/// `/tasks/:param0`.
fn numbered(path: &str) -> (String, Vec<String>) {
    let mut names = vec![];
    let segment = |segment: &str| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => {
            names.push(name.to_owned());
            format!(":param{}", names.len() - 1)
        }
        None => segment.to_owned(),
    };
    let route = path.split('/').map(segment).collect::<Vec<_>>().join("/");
    (route, names)
}

#[derive(Clone, Copy)]
struct TakesNoQuery(bool);

/// Refuses a query string if the operation has no query parameters. Operations with parameters check them themselves.
/// `Caller` and `Visitor` call this after authentication and after the charge of the limits, so that these come first.
pub fn refuse_query(request: &Request) -> Result<(), Error> {
    let Some(TakesNoQuery(true)) = request.data() else { return Ok(()) };
    let Some(query) = request.uri().query().filter(|query| !query.is_empty()) else { return Ok(()) };
    let pairs = pairs(query.as_bytes()).ok_or_else(unreadable)?;
    let mut problems = Detail::default();
    for (name, _) in pairs {
        problems.add(&name, "is not known");
    }
    Err(Error::Invalid(problems))
}

struct Guard {
    endpoint: BoxEndpoint<'static>,
    operation: &'static str,
    path_names: Vec<String>,
    takes_no_query: bool,
    declared: HashSet<u16>,
}

impl Endpoint for Guard {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        tracing::Span::current().record("operation", self.operation);
        request.set_data(TakesNoQuery(self.takes_no_query));
        let limits = LimitReport::default();
        request.set_data(limits.clone());
        let mut response = match AssertUnwindSafe(self.endpoint.call(request)).catch_unwind().await {
            Ok(Ok(response)) => response.into_response(),
            Ok(Err(error)) => self.answer(error),
            Err(_) => self.answer(Error::Internal(anyhow::anyhow!("the handler panicked")).into()),
        };
        limits.write(response.headers_mut());
        let status = response.status().as_u16();
        debug_assert!(self.declared.contains(&status), "{}: status {status} is not declared", self.operation);
        Ok(response)
    }
}

impl Guard {
    fn answer(&self, error: poem::Error) -> Response {
        let error = match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => self.translate(&error),
        };
        match &error {
            Error::Internal(cause) | Error::StorageFull(cause) => tracing::error!(?cause, "Operation failed"),
            Error::Unavailable(cause) | Error::SlowStatement(_, cause) => {
                tracing::warn!(?cause, "Operation is unavailable")
            }
            _ => {}
        }
        error.as_response()
    }

    /// Translates errors of requests that poem itself refuses.
    fn translate(&self, error: &poem::Error) -> Error {
        if let Some(ParsePathError { name, .. }) = error.downcast_ref() {
            let index = name.trim_start_matches("param").parse::<usize>().unwrap_or_default();
            let name = self.path_names.get(index).map_or("path", String::as_str);
            return Error::invalid(name, "is not valid");
        }
        if error.is::<ContentTypeError>() {
            return Error::UnsupportedMediaType;
        }
        match error.downcast_ref() {
            Some(ReadBodyError::PayloadTooLarge) => Error::PayloadTooLarge,
            Some(_) => Error::Malformed("The body can't be read.".into()),
            None => Error::Internal(anyhow::anyhow!("{error:?}")),
        }
    }
}
