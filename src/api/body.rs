//! Request bodies. They are checked against their schema, and then against the rules that a schema can't express.
use super::query::pairs;
use super::schema::{Schema, partial};
use crate::base::error::{Detail, Error, Result};
use crate::base::request::{FORM, FormDefaults, essence};
use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, ParseResult, ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashSet;
use std::marker::PhantomData;

/// A type that can be a request body.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not declared as a request body",
    label = "this can't be read from a request",
    note = "write `impl Input for {Self} {{}}` in `types.rs`; its method `check` is for rules that the schema can't say",
    note = "its type also needs `#[derive(Object)]`"
)]
pub trait Input: ParseFromJSON + ToJSON + 'static {
    /// Adds the problems of each member that the schema can't express. They are answered with 422.
    fn check(&self, _problems: &mut Detail) {}
}

fn checked<T: Input>(value: Value) -> Result<T> {
    let input = T::parse_from_json(Some(value)).map_err(|error| Error::Malformed(error.into_message()))?;
    let mut problems = Detail::default();
    input.check(&mut problems);
    if problems.is_empty() { Ok(input) } else { Err(Error::Unprocessable(problems)) }
}

/// Refuses a compressed body, because its bytes would otherwise be read as the content itself (RFC 9110, 8.4). Every
/// extractor of a body calls this.
pub(super) fn refuse_coding(request: &Request) -> Result<()> {
    let lines = request.headers().get_all(header::CONTENT_ENCODING).iter();
    let mut codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let is_none = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
    if codings.all(is_none) { Ok(()) } else { Err(Error::UnsupportedEncoding) }
}

/// A JSON body. It is valid when the handler gets it.
pub struct Json<T: Input>(pub T);

impl<T: Input> Payload for Json<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(content_type: &str) -> bool {
        let essence = essence(content_type);
        essence == Self::CONTENT_TYPE || essence.ends_with("+json")
    }
    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }
    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Input> ParsePayload for Json<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        refuse_coding(request)?;
        let bytes = body.take()?.into_vec().await?; // the edge limits the size
        Ok(Self(parse(&bytes)?))
    }
}
poem_openapi::impl_apirequest_for_payload!(Json<T>, T: Input);

fn parse<T: Input>(json: &[u8]) -> Result<T> {
    let value = super::json::read(json);
    let value = value.map_err(|error| Error::Malformed(format!("The body can't be read as JSON: {error}.")))?;
    validated(value)
}

fn validated<T: Input>(mut value: Value) -> Result<T> {
    let schema = Schema::of::<T>();
    schema.compose(&mut value);
    schema.check(&value).map_err(Error::Invalid)?;
    checked(value)
}

/// Reads the members of a `T` from the texts of a form.
pub(super) fn parse_members<T: Input>(members: Map<String, Value>) -> Result<T> {
    validated(Value::Object(members))
}

/// A JSON body that may be left out. A body of another media type does not count as left out: it is refused.
pub struct OptionalJson<T>(pub Option<T>);

impl<'a, T: Input> ApiExtractor<'a> for OptionalJson<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: Json::<T>::CONTENT_TYPE, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: false })
    }
    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let bytes = body.take()?.into_vec().await?;
        if bytes.is_empty() {
            return Ok(Self(None)); // an empty body counts as left out, whatever the headers say
        }
        if !request.content_type().is_some_and(Json::<T>::check_content_type) {
            return Err(Error::UnsupportedMediaType.into());
        }
        refuse_coding(request)?;
        Ok(Self(Some(parse(&bytes)?)))
    }
}

/// An HTML form as a body (`application/x-www-form-urlencoded`), read by the rules of OAuth 2.0 (RFC 6749, 3.2).
/// Unknown parameters are ignored, a parameter without a value counts as left out, and no parameter may be given twice.
/// The remaining parameters are checked as in [`Json`].
pub struct Form<T>(pub T);

impl<T: Type> Payload for Form<T> {
    const CONTENT_TYPE: &'static str = FORM;

    fn check_content_type(content_type: &str) -> bool {
        essence(content_type) == Self::CONTENT_TYPE
    }
    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }
    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Input> ParsePayload for Form<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        refuse_coding(request)?;
        let bytes = body.take()?.into_vec().await?;
        let pairs = pairs(&bytes).ok_or_else(|| Error::Malformed("The body can't be read as a form.".into()))?;
        let FormDefaults(defaults) = request.data().copied().unwrap_or(FormDefaults(&[]));
        Ok(Self(parse_form(pairs, defaults)?))
    }
}

fn parse_form<T: Input>(pairs: Vec<(String, String)>, defaults: &[(&str, &str)]) -> Result<T> {
    let schema = Schema::of::<T>();
    let (mut names, mut repeated, mut members) = (HashSet::new(), Detail::default(), Map::new());
    for (name, text) in pairs {
        if !text.is_empty() && schema.member(&name).is_some() {
            members.entry(name.clone()).or_insert_with(|| text.into());
        }
        if let Some(name) = names.replace(name) {
            repeated.add(&name, "must be given once");
        }
    }
    for (name, text) in defaults {
        members.entry(*name).or_insert_with(|| Value::from(*text));
    }
    let value = Value::Object(members);
    let mut problems = schema.check(&value).err().unwrap_or_default();
    for (name, messages) in repeated.0 {
        problems.0.entry(name).or_default().extend(messages);
    }
    if problems.is_empty() { checked(value) } else { Err(Error::Invalid(problems)) }
}
poem_openapi::impl_apirequest_for_payload!(Form<T>, T: Input);

/// A change to some members of a `T`. Absent members stay as they are, and null clears a member. In the document it has
/// the schema of `T`, but no member is required.
pub struct Patch<T> {
    members: Map<String, Value>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Patch<T> {
    fn clone(&self) -> Self {
        Self { members: self.members.clone(), of: PhantomData }
    }
}

impl<T: Input> Patch<T> {
    /// Replaces these members in `current`, and checks the result as a whole.
    pub fn apply(self, current: &T) -> Result<T> {
        let mut whole = current.to_json().unwrap_or_default();
        if let Some(object) = whole.as_object_mut() {
            object.extend(self.members);
        }
        checked(whole)
    }
}

impl<T: Input> Input for Patch<T> {}

impl<T: Input> Type for Patch<T> {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        let name = T::name();
        format!("{}Patch", name.strip_suffix("Input").unwrap_or(&name)).into()
    }
    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::name().into_owned())
    }
    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(Self::name().into_owned(), |registry| {
            let mut schema = partial(registry.create_fake_schema::<T>());
            schema.title = Some(Self::name().into_owned());
            schema.description = Some("The members given are changed, null clears them.");
            schema
        });
    }
    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl<T: Input> ParseFromJSON for Patch<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::Object(members)) => Ok(Self { members, of: PhantomData }),
            other => Err(poem_openapi::types::ParseError::expected_type(other.unwrap_or_default())),
        }
    }
}

impl<T: Input> ToJSON for Patch<T> {
    fn to_json(&self) -> Option<Value> {
        Some(Value::Object(self.members.clone()))
    }
}
