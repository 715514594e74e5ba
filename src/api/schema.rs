//! Checks a value against the schema that the document has for it, and reports all faults at once.
//!
//! The derive's own parser stops at the first fault, accepts 5 as a string, and accepts null for all optional members.
use crate::base::error::Detail;
use crate::base::formats::{parse_day, parse_instant, parse_uuid};
use crate::base::password::characters;
use crate::db::Email;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use regex::Regex;
use serde_json::{Map, Value, json};
use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// The schema of one type, with the definitions to which it refers.
pub struct Schema {
    root: Value,
    definitions: Value,
}

impl Schema {
    /// The schema of the type of a body.
    pub fn of<T: Type + 'static>() -> Arc<Self> {
        Self::cached::<T>(|registry| {
            T::register(registry);
            T::schema_ref()
        })
    }

    /// The schema that `describe` returns for `T`. It is called only once.
    pub fn cached<T: 'static>(describe: impl FnOnce(&mut Registry) -> MetaSchemaRef) -> Arc<Self> {
        static CACHE: LazyLock<Mutex<HashMap<TypeId, Arc<Schema>>>> = LazyLock::new(Mutex::default);
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let mut registry = Registry::new();
            let root = json!(describe(&mut registry));
            let definitions = json!(registry.schemas);
            Arc::new(Self { root, definitions })
        };
        cache.entry(TypeId::of::<T>()).or_insert_with(make).clone()
    }

    /// The schema of one member of an object.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.resolve(&self.root)["properties"].get(name).map(|schema| self.resolve(schema))
    }

    pub fn check(&self, value: &Value) -> Result<(), Detail> {
        let mut problems = Detail::default();
        self.check_value(&self.root, value, "", &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Normalises the texts of a value to NFC. A text is then found, counted and compared in the same way, whether or
    /// not the keyboard composes its characters. Passwords stay as they were typed, because their own type normalises
    /// them.
    pub fn compose(&self, value: &mut Value) {
        self.compose_value(&self.root, value);
    }

    fn compose_value(&self, schema: &Value, value: &mut Value) {
        let schema = self.resolve(schema);
        match value {
            Value::String(text) if schema["format"] != "password" && !is_nfc(text) => *text = text.nfc().collect(),
            Value::Array(items) => {
                for item in items {
                    self.compose_value(&schema["items"], item);
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    if let Some(schema) = schema["properties"].get(name) {
                        self.compose_value(schema, member);
                    }
                }
            }
            Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    /// Follows `$ref`, including one that is wrapped in `allOf` to add a default or a description.
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let target = if schema["allOf"][0]["$ref"].is_string() { &schema["allOf"][0] } else { schema };
        match target["$ref"].as_str() {
            Some(path) => &self.definitions[path.rsplit('/').next().unwrap_or_default()],
            None => schema,
        }
    }

    fn check_value(&self, schema: &Value, value: &Value, at: &str, problems: &mut Detail) {
        if problems.is_full() {
            return; // the answer to a very large faulty body stays short
        }
        if value.is_null() {
            if schema["nullable"] != true {
                problems.add(at, "must not be null");
            }
            return;
        }
        let schema = self.resolve(schema);
        let expected = schema["type"].as_str().unwrap_or_default();
        let fits = match expected {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            _ => true,
        };
        if !fits {
            let article = if expected.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
            return problems.add(at, format!("must be {article} {expected}"));
        }
        if let Some(choices) = schema["enum"].as_array().filter(|choices| !choices.contains(value)) {
            let choices: Vec<_> = choices.iter().filter_map(Value::as_str).collect();
            return problems.add(at, format!("must be one of {}", choices.join(", ")));
        }
        match value {
            Value::String(text) => check_text(schema, text, at, problems),
            Value::Number(number) => check_number(schema, number.as_f64().unwrap_or(f64::NAN), at, problems),
            Value::Array(items) => {
                check_count(schema, ["minItems", "maxItems"], items.len(), "items", at, problems);
                for (index, item) in items.iter().enumerate() {
                    self.check_value(&schema["items"], item, &join(at, &index.to_string()), problems);
                }
            }
            Value::Object(members) => self.check_members(schema, members, at, problems),
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn check_members(&self, schema: &Value, members: &Map<String, Value>, at: &str, problems: &mut Detail) {
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in required.filter(|name| !members.contains_key(*name)) {
            problems.add(&join(at, name), "is required");
        }
        for (name, value) in members {
            match schema["properties"].get(name) {
                Some(member) => self.check_value(member, value, &join(at, name), problems),
                None => problems.add(&join(at, name), "is not known"),
            }
        }
    }
}

fn check_text(schema: &Value, text: &str, at: &str, problems: &mut Detail) {
    if text.contains('\0') {
        problems.add(at, "must not contain a NUL character"); // PostgreSQL can't store one
    }
    let format = schema["format"].as_str().unwrap_or_default();
    let length = if format == "password" { characters(text) } else { text.chars().count() };
    check_count(schema, ["minLength", "maxLength"], length, "characters", at, problems);
    if let Some(pattern) = schema["pattern"].as_str().filter(|pattern| !regex(pattern).is_match(text)) {
        problems.add(at, format!("must match {pattern}"));
    }
    let valid = match format {
        "uuid" => parse_uuid(text).is_some(),
        "date" => parse_day(text).is_some(),
        "date-time" => parse_instant(text).is_some(),
        "email" => match Email::parse(text) {
            Ok(_) => true,
            Err(fault) => return problems.add(at, fault),
        },
        _ => true,
    };
    if !valid {
        problems.add(at, format!("must be a valid {format}"));
    }
}

fn check_number(schema: &Value, number: f64, at: &str, problems: &mut Detail) {
    let is_int32 = schema["format"] == "int32";
    let least = schema["minimum"].as_f64().or(is_int32.then_some(i32::MIN.into()));
    let most = schema["maximum"].as_f64().or(is_int32.then_some(i32::MAX.into()));
    if let Some(least) = least.filter(|least| number < *least) {
        problems.add(at, format!("must be at least {least}"));
    }
    if let Some(most) = most.filter(|most| number > *most) {
        problems.add(at, format!("must be at most {most}"));
    }
}

fn check_count(schema: &Value, [min, max]: [&str; 2], count: usize, what: &str, at: &str, problems: &mut Detail) {
    let count = count as u64;
    if let Some(least) = schema[min].as_u64().filter(|least| count < *least) {
        problems.add(at, format!("must have at least {least} {what}"));
    }
    if let Some(most) = schema[max].as_u64().filter(|most| count > *most) {
        problems.add(at, format!("must have at most {most} {what}"));
    }
}

fn regex(pattern: &str) -> Arc<Regex> {
    static CACHE: LazyLock<Mutex<HashMap<String, Arc<Regex>>>> = LazyLock::new(Mutex::default);
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    #[expect(clippy::expect_used, reason = "patterns are ours, and every one is compiled by the tests")]
    let make = || Arc::new(Regex::new(pattern).expect("a pattern of ours"));
    cache.entry(pattern.to_owned()).or_insert_with(make).clone()
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// The schema of a patch: no member is required, and none has a default.
pub fn partial(mut schema: MetaSchema) -> MetaSchema {
    schema.required.clear();
    for (_, member) in &mut schema.properties {
        drop_default(member);
    }
    schema
}

/// The schema of an answer: every member is present, and none has a default.
pub fn complete(mut schema: MetaSchema) -> MetaSchema {
    for (_, member) in &mut schema.properties {
        drop_default(member);
    }
    schema.required = schema.properties.iter().map(|(name, _)| *name).collect();
    schema
}

fn drop_default(member: &mut MetaSchemaRef) {
    let MetaSchemaRef::Inline(schema) = member else { return };
    schema.default = None;
    // A reference with a default is `allOf: [reference, {default}]`. Without the default, the reference alone is
    // enough.
    if let [reference @ MetaSchemaRef::Reference(_), MetaSchemaRef::Inline(extra)] = &mut schema.all_of[..] {
        extra.default = None;
        if extra.is_empty() {
            *member = reference.clone();
        }
    }
}

/// Changes a registered schema in place.
pub fn amend(registry: &mut Registry, name: &str, change: impl FnOnce(MetaSchema) -> MetaSchema) {
    if let Some(schema) = registry.schemas.get_mut(name) {
        *schema = change(schema.clone());
    }
}

#[cfg(test)]
mod tests;
