//! Finds the breaking changes of one schema. A change may be harmless in schemas of requests and breaking in schemas of
//! answers, or the other way round.
use super::{entries, items};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

#[derive(Clone, Copy, PartialEq)]
pub enum Direction {
    /// Clients send the value: what was accepted must still be accepted.
    Taken,
    /// The server sends the value: what is sent now must be something that could have been sent before.
    Sent,
}

pub struct SchemaCheck<'a> {
    old: &'a Value,
    new: &'a Value,
    direction: Direction,
    /// Pairs of references that were compared already. They are not compared again, because schemas may refer to
    /// themselves.
    seen: HashSet<(String, String)>,
    pub found: Vec<String>,
}

impl<'a> SchemaCheck<'a> {
    pub fn new(old: &'a Value, new: &'a Value, direction: Direction) -> Self {
        Self { old, new, direction, seen: HashSet::new(), found: Vec::new() }
    }

    pub fn compare(&mut self, at: &str, old: &Value, new: &Value) {
        if let (Some(left), Some(right)) = (old["$ref"].as_str(), new["$ref"].as_str())
            && !self.seen.insert((left.to_owned(), right.to_owned()))
        {
            return;
        }
        let (old, new) = (resolve(self.old, old), resolve(self.new, new));
        let only_new = new.keys().filter(|key| !old.contains_key(*key));
        for key in old.keys().chain(only_new) {
            self.member(at, key, old.get(key), new.get(key));
        }
    }

    fn member(&mut self, at: &str, key: &str, old: Option<&Value>, new: Option<&Value>) {
        match (key, old, new) {
            ("properties", old, new) => self.properties(at, old, new),
            ("items", Some(old), Some(new)) => self.compare(&format!("{at}[]"), old, new),
            ("additionalProperties", Some(old @ Value::Object(_)), Some(new @ Value::Object(_))) => {
                self.compare(&format!("{at}.*"), old, new);
            }
            ("allOf" | "oneOf" | "anyOf", Some(old), Some(new)) if self.lengths_fit(key, old, new) => {
                for (old, new) in items(old).iter().zip(items(new)) {
                    self.compare(at, old, new);
                }
            }
            _ if old == new || self.is_harmless(key, old, new) => {}
            _ => self.found.push(format!("{at}: {key} {} → {}", shown(old), shown(new))),
        }
    }

    /// New properties are harmless. Whether a property must be given is checked with `required`.
    fn properties(&mut self, at: &str, old: Option<&Value>, new: Option<&Value>) {
        for (name, schema) in old.into_iter().flat_map(entries) {
            let at = format!("{at}.{name}");
            match new.and_then(|new| new.get(name)) {
                Some(now) => self.compare(&at, schema, now),
                None => self.found.push(format!("{at}: property removed")),
            }
        }
    }

    /// Whether the parts can be compared one by one. Clients may be given another choice in what they send, as long as
    /// it is added at the end.
    fn lengths_fit(&self, key: &str, old: &Value, new: &Value) -> bool {
        let (old, new) = (items(old).len(), items(new).len());
        old == new || (self.direction == Direction::Taken && key != "allOf" && new > old)
    }

    /// Whether the change of a keyword's value is harmless.
    fn is_harmless(&self, key: &str, old: Option<&Value>, new: Option<&Value>) -> bool {
        // "Wide" is the side that must allow at least what the other one allows.
        let (wide, narrow) = match self.direction {
            Direction::Taken => (new, old),
            Direction::Sent => (old, new),
        };
        match key {
            "deprecated" => true,
            // With another default, the same request has another meaning.
            "default" => self.direction == Direction::Sent || old.is_none(),
            "nullable" => wide.is_some(),
            "enum" => wide.is_none_or(|wide| narrow.is_some_and(|narrow| contains_all(wide, narrow))),
            "required" => {
                let (wide, narrow) = (wide.unwrap_or(&Value::Null), narrow.unwrap_or(&Value::Null));
                contains_all(narrow, wide)
            }
            "maximum" | "maxLength" | "maxItems" | "maxProperties" => bound_allows(wide, narrow, |w, n| w >= n),
            "minimum" | "minLength" | "minItems" | "minProperties" => bound_allows(wide, narrow, |w, n| w <= n),
            "pattern" | "format" | "uniqueItems" => wide.is_none(),
            "additionalProperties" => is_open(wide) || narrow == Some(&json!(false)),
            _ => false,
        }
    }
}

fn contains_all(list: &Value, others: &Value) -> bool {
    items(others).iter().all(|item| items(list).contains(item))
}

/// Whether the bound `wide` allows all that `narrow` allows. A missing bound allows everything.
fn bound_allows(wide: Option<&Value>, narrow: Option<&Value>, allows: fn(f64, f64) -> bool) -> bool {
    match (wide.and_then(Value::as_f64), narrow.and_then(Value::as_f64)) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => allows(wide, narrow),
        (Some(_), None) => false,
    }
}

/// Whether other members are allowed. If `additionalProperties` is left out, they are.
fn is_open(additional: Option<&Value>) -> bool {
    additional.is_none_or(|additional| *additional == json!(true))
}

/// Follows references, also a reference that is wrapped in `allOf` so that a default can be beside it.
fn resolve(document: &Value, schema: &Value) -> Map<String, Value> {
    let reference = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    if let Some(name) = reference {
        return resolve(document, &document["schemas"][name]);
    }
    let mut members = schema.as_object().cloned().unwrap_or_default();
    if let Some([lone]) = members.get("allOf").map(items) {
        let mut merged = resolve(document, lone);
        members.remove("allOf");
        merged.extend(members);
        return merged;
    }
    members
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(direction: Direction, old: &Value, new: &Value) -> Vec<String> {
        let empty = json!({});
        let mut check = SchemaCheck::new(&empty, &empty, direction);
        check.compare("x", old, new);
        check.found
    }

    /// Asserts that the change from `narrow` to `wide` breaks only what is sent, and that the change back breaks only
    /// what is taken.
    fn assert_wider(narrow: Value, wide: Value) {
        use Direction::{Sent, Taken};
        assert_eq!(found(Taken, &narrow, &wide), [""; 0], "taken: {narrow} → {wide}");
        assert_eq!(found(Sent, &wide, &narrow), [""; 0], "sent: {wide} → {narrow}");
        assert_eq!(found(Sent, &narrow, &wide).len(), 1, "sent: {narrow} → {wide}");
        assert_eq!(found(Taken, &wide, &narrow).len(), 1, "taken: {wide} → {narrow}");
    }

    fn assert_breaks_both(old: Value, new: Value) {
        assert_eq!(found(Direction::Taken, &old, &new).len(), 1, "taken: {old} → {new}");
        assert_eq!(found(Direction::Sent, &old, &new).len(), 1, "sent: {old} → {new}");
    }

    #[test]
    fn limits() {
        for upper in ["maximum", "maxLength", "maxItems", "maxProperties"] {
            assert_wider(json!({upper: 5}), json!({upper: 6}));
            assert_wider(json!({upper: 5}), json!({}));
        }
        for lower in ["minimum", "minLength", "minItems", "minProperties"] {
            assert_wider(json!({lower: 5}), json!({lower: 4}));
            assert_wider(json!({lower: 5}), json!({}));
        }
    }

    #[test]
    fn values() {
        assert_wider(json!({"enum": ["a"]}), json!({"enum": ["a", "b"]}));
        assert_wider(json!({"enum": ["a"]}), json!({}));
        assert_wider(json!({}), json!({"nullable": true}));
        assert_wider(json!({"pattern": "^a"}), json!({}));
        assert_wider(json!({"format": "uuid"}), json!({}));
        assert_wider(json!({"uniqueItems": true}), json!({}));
        assert_breaks_both(json!({"pattern": "^a"}), json!({"pattern": "^b"}));
        assert_breaks_both(json!({"type": "string"}), json!({"type": "integer"}));
        assert_breaks_both(json!({"multipleOf": 2}), json!({"multipleOf": 3}));
    }

    #[test]
    fn objects() {
        assert_wider(json!({"required": ["a", "b"]}), json!({"required": ["a"]}));
        assert_wider(json!({"required": ["a"]}), json!({}));
        assert_wider(json!({"additionalProperties": false}), json!({}));
        assert_wider(json!({"additionalProperties": false}), json!({"additionalProperties": {"type": "string"}}));
        assert_wider(
            json!({"additionalProperties": {"maxLength": 1}}),
            json!({"additionalProperties": {"maxLength": 2}}),
        );
        assert_wider(json!({"properties": {"a": {"maxLength": 1}}}), json!({"properties": {"a": {"maxLength": 2}}}));
        assert_breaks_both(json!({"properties": {"a": {}}}), json!({"properties": {"b": {}}}));
        assert_breaks_both(json!({"properties": {"a": {}}}), json!({}));
    }

    #[test]
    fn lists_and_choices() {
        assert_wider(json!({"items": {"maxLength": 1}}), json!({"items": {"maxLength": 2}}));
        assert_wider(json!({"oneOf": [{"maxLength": 1}]}), json!({"oneOf": [{"maxLength": 2}]}));
        let (one, two) = (json!({"oneOf": [{"type": "a"}]}), json!({"oneOf": [{"type": "a"}, {"type": "b"}]}));
        assert_eq!(found(Direction::Taken, &one, &two), [""; 0]);
        assert_eq!(found(Direction::Sent, &one, &two).len(), 1);
        assert_eq!(found(Direction::Taken, &two, &one).len(), 1);
        assert_breaks_both(json!({"allOf": [{}, {}]}), json!({"allOf": [{}, {}, {}]}));
    }

    #[test]
    fn defaults_matter_to_requests_only() {
        let (old, new) = (json!({"default": 20}), json!({"default": 50}));
        assert_eq!(found(Direction::Taken, &old, &new), ["x: default 20 → 50"]);
        assert_eq!(found(Direction::Sent, &old, &new), [""; 0]);
        assert_eq!(found(Direction::Taken, &json!({}), &new), [""; 0]);
        assert_eq!(found(Direction::Taken, &json!({}), &json!({"deprecated": true})), [""; 0]);
    }

    #[test]
    fn references_are_followed_and_their_names_do_not_matter() {
        let tree = |name: &str, limit: u32| {
            let reference = json!({"$ref": format!("#/components/schemas/{name}")});
            let schema = json!({"maxLength": limit, "properties": {"next": reference}});
            (json!({"schemas": {name: schema}}), reference)
        };
        let ((old, old_reference), (new, reference)) = (tree("A", 2), tree("B", 1));
        let wrapped = json!({"default": 1, "allOf": [reference]});
        for new_reference in [&reference, &wrapped] {
            let mut check = SchemaCheck::new(&old, &new, Direction::Taken);
            check.compare("x", &old_reference, new_reference);
            assert_eq!(check.found[0], "x: maxLength 2 → 1");
        }
    }
}
