//! Reads query parameters into structs. Each member is one parameter of the document, and all faulty parameters are
//! reported at once.
use super::schema::Schema;
use crate::api::list::{At, Column, Filter, List, Sort};
use crate::base::error::{Detail, Error, Result};
use percent_encoding::percent_decode;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, Object};
use serde_json::{Map, Value};

/// Marks a schema as a set of parameters: the guard replaces it by one parameter for each of its members.
pub const SPREAD: &str = "spread into parameters";

/// A type that can be read from a query string.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be read from a query string",
    label = "this is no set of query parameters",
    note = "lists take `Query<List<TaskFilter>>`, exports `Query<ExportOf<TaskFilter>>`; others implement it, as `UserList` does"
)]
pub trait QueryParams: Sized + 'static {
    /// An object schema with one member for each parameter. The types to which it refers are registered, but the object
    /// itself is not.
    fn describe(registry: &mut Registry) -> MetaSchema;
    /// Converts `members`, which were checked against the schema.
    fn parse(members: Map<String, Value>) -> Result<Self>;
}

/// The argument of a handler for its query parameters: `Query(list): Query<List<TaskFilter>>`.
pub struct Query<Q: QueryParams>(pub Q);

impl<'a, Q: QueryParams> ApiExtractor<'a> for Query<Q> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let mut scratch = Registry::new();
        Q::describe(&mut scratch);
        for (name, schema) in scratch.schemas {
            registry.schemas.entry(name).or_insert(schema);
        }
    }
    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }
    fn param_schema_ref() -> Option<MetaSchemaRef> {
        let schema = Q::describe(&mut Registry::new());
        Some(MetaSchemaRef::Inline(Box::new(MetaSchema { title: Some(SPREAD.into()), ..schema })))
    }
    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let schema = Schema::cached::<Q>(|registry| MetaSchemaRef::Inline(Box::new(Q::describe(registry))));
        let members = read(&schema, request.uri().query().unwrap_or_default())?;
        Ok(Self(Q::parse(members)?))
    }
}

/// Reads a query string as the JSON object that the schema expects.
fn read(schema: &Schema, query: &str) -> Result<Map<String, Value>> {
    let pairs = pairs(query.as_bytes()).ok_or_else(unreadable)?;
    let mut members = Map::new();
    let mut repeated = Detail::default();
    for (name, text) in pairs {
        let value = match schema.member(&name) {
            Some(member) => typed(member, text),
            None => Value::String(text), // the check reports that it is not known
        };
        if members.insert(name.clone(), value).is_some() {
            repeated.add(&name, "must be given once");
        }
    }
    let mut members = Value::Object(members);
    schema.compose(&mut members);
    let checked = schema.check(&members);
    let Value::Object(members) = members else { return Err(unreadable()) };
    match checked {
        Err(mut problems) => {
            for (name, messages) in repeated.0 {
                problems.0.entry(name).or_default().extend(messages);
            }
            Err(Error::Invalid(problems))
        }
        Ok(()) if !repeated.is_empty() => Err(Error::Invalid(repeated)),
        Ok(()) => Ok(members),
    }
}

pub fn unreadable() -> Error {
    Error::Malformed("The query is not form-encoded.".into())
}

/// The pairs of a form-encoded text. `None` if it has a broken escape or bytes that are not UTF-8. `serde_urlencoded`
/// alone would keep the broken escape as text and replace the bytes by U+FFFD.
pub fn pairs(text: &[u8]) -> Option<Vec<(String, String)>> {
    let is_hex = |at: usize| text.get(at).is_some_and(u8::is_ascii_hexdigit);
    let is_whole = |(at, byte): (usize, &u8)| *byte != b'%' || (is_hex(at + 1) && is_hex(at + 2));
    let is_readable = text.iter().enumerate().all(is_whole) && percent_decode(text).decode_utf8().is_ok();
    is_readable.then(|| serde_urlencoded::from_bytes(text).ok())?
}

fn typed(schema: &Value, text: String) -> Value {
    match schema["type"].as_str() {
        Some("integer") => text.parse::<i64>().map_or(Value::String(text), Value::from),
        Some("boolean") => text.parse::<bool>().map_or(Value::String(text), Value::from),
        Some("array") => text.split(',').map(Value::from).collect(),
        _ => Value::String(text),
    }
}

/// The members of an object type, to be included in another schema.
pub fn members_of<T: Type>(registry: &mut Registry) -> Vec<(&'static str, MetaSchemaRef)> {
    let schema = registry.create_fake_schema::<T>();
    registry.schemas.remove(T::name().as_ref());
    schema.properties
}

pub fn part<T: ParseFromJSON>(members: &Map<String, Value>) -> Result<T> {
    let value = Value::Object(members.clone());
    T::parse_from_json(Some(value)).map_err(|error| Error::Malformed(error.into_message()))
}

#[derive(Object)]
struct Paging {
    /// The number of the page, from 1. Must be absent with `cursor`.
    #[oai(validator(minimum(value = "1")))]
    page: Option<i32>,
    #[oai(default = "default_per_page", validator(minimum(value = "1"), maximum(value = "100")))]
    per_page: i32,
    /// `next_cursor` of the previous page. If it is empty, the list begins at the start.
    cursor: Option<String>,
}

fn default_per_page() -> i32 {
    20
}

#[derive(Object)]
pub struct Search {
    /// The text to find, in upper or lower case.
    #[oai(validator(max_length = 200))]
    pub q: Option<String>,
}

pub fn sort_member<C: Column>(registry: &mut Registry) -> (&'static str, MetaSchemaRef) {
    Sort::<C>::register(registry);
    let default = MetaSchema { default: Some("-created_at".into()), ..MetaSchema::ANY };
    ("sort", Sort::<C>::schema_ref().merge(default))
}

pub fn parse_sort<C: Column>(members: &Map<String, Value>) -> Result<Sort<C>> {
    let Some(text) = members.get("sort").and_then(Value::as_str) else {
        return Ok(Sort { by: C::default(), descending: true });
    };
    let (descending, column) = text.strip_prefix('-').map_or((false, text), |column| (true, column));
    let by = C::parse_from_json(Some(column.into())).map_err(|error| Error::Malformed(error.into_message()))?;
    Ok(Sort { by, descending })
}

impl<F: Filter> QueryParams for List<F> {
    fn describe(registry: &mut Registry) -> MetaSchema {
        let mut properties = members_of::<Paging>(registry);
        if !F::IS_PLAIN {
            properties.push(sort_member::<F::Column>(registry));
            properties.extend(members_of::<Search>(registry));
        }
        properties.extend(members_of::<F>(registry));
        MetaSchema { properties, ..MetaSchema::new("object") }
    }

    fn parse(members: Map<String, Value>) -> Result<Self> {
        let Paging { page, per_page, cursor } = part(&members)?;
        let at = match (page, cursor) {
            (Some(_), Some(_)) => return Err(Error::invalid("page", "must be absent with `cursor`")),
            (page, None) => At::Page(page.unwrap_or(1)),
            (None, cursor) => At::Cursor(cursor.filter(|cursor| !cursor.is_empty())),
        };
        let Search { q } = part(&members)?;
        let sort = match F::IS_OLDEST_FIRST {
            true => Sort { by: F::Column::default(), descending: false },
            false => parse_sort(&members)?,
        };
        Ok(Self { filter: part(&members)?, q, sort, per_page, at })
    }
}

/// In the document, the values are the columns, each also with a leading `-`.
impl<C: Column> Type for Sort<C> {
    const IS_REQUIRED: bool = false;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> std::borrow::Cow<'static, str> {
        C::name()
    }
    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::name().into_owned())
    }
    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(Self::name().into_owned(), |_| {
            let columns = Registry::new().create_fake_schema::<C>().enum_items;
            let descending = columns.iter().filter_map(Value::as_str).map(|column| format!("-{column}").into());
            MetaSchema { enum_items: columns.iter().cloned().chain(descending).collect(), ..MetaSchema::new("string") }
        });
    }
    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}
