//! One test a rule; the first of them sees to it that none is missing.
use super::*;

/// Applies one rule to a value, with no document around it.
fn apply(name: &str, value: Value) -> Value {
    apply_within(name, value, &json!({}))
}

fn apply_within(name: &str, mut value: Value, document: &Value) -> Value {
    let rule = RULES.iter().find(|rule| rule.name == name).expect("a rule of that name");
    (rule.apply)(value.as_object_mut().expect("an object"), document);
    value
}

#[test]
fn every_rule_has_a_reason_a_place_and_a_test() {
    let tests = include_str!("rules_tests.rs");
    for Rule { name, why, at, .. } in RULES {
        assert!(!why.is_empty() && !at.is_empty(), "{name}");
        let call = if *name == CLOSED_OBJECTS { "apply(CLOSED_OBJECTS,".to_owned() } else { format!("(\"{name}\",") };
        assert!(tests.contains(&call), "{name} has no test");
    }
}

#[test]
fn text_is_dropped() {
    let schema = json!({
        "type": "string", "title": "T", "description": "D", "example": 1, "examples": {}, "externalDocs": {}, "x-a": 1,
    });
    assert_eq!(apply("text", schema), json!({"type": "string"}));
    assert_eq!(apply("text", json!({"summary": "S", "operationId": "task_get"})), json!({"operationId": "task_get"}));
}

#[test]
fn of_the_head_only_facts_are_kept() {
    let document = json!({
        "openapi": "3.0.3",
        "info": {"title": "BizCenter API", "version": "1.0.0", "description": "Long", "license": {"name": "MIT"}},
        "servers": [{"url": "/", "description": "This one"}],
        "tags": [{"name": "tasks", "description": "Things to do"}, {"name": "auth"}],
    });
    let expected = json!({
        "openapi": "3.0",
        "info": {"title": "BizCenter API", "version": "1.0.0"},
        "servers": ["/"],
        "tags": ["auth", "tasks"],
    });
    assert_eq!(apply("document facts", document), expected);
}

#[test]
fn scopes_are_names() {
    let scheme = json!({"type": "oauth2", "flows": {"password": {"tokenUrl": "/t", "scopes": {"b": "Text", "a": ""}}}});
    let expected = json!({"type": "oauth2", "flows": {"password": {"tokenUrl": "/t", "scopes": ["a", "b"]}}});
    assert_eq!(apply("scope texts", scheme), expected);
}

#[test]
fn false_flags_are_dropped_and_other_falses_kept() {
    let schema = json!({"nullable": false, "uniqueItems": false, "readOnly": true, "default": false});
    assert_eq!(apply("false flags", schema), json!({"readOnly": true, "default": false}));
    assert_eq!(apply("false flags", json!({"required": false, "deprecated": false})), json!({}));
}

#[test]
fn tags_and_security_have_no_order() {
    let one = json!({"tags": ["b", "a"], "security": [{"key": [], "bearer": []}, {"apiKey": []}]});
    let other = json!({"tags": ["a", "b"], "security": [{"apiKey": []}, {"bearer": [], "key": []}]});
    assert_eq!(apply("order of sets", one), apply("order of sets", other));
    assert_ne!(
        apply("order of sets", json!({"security": [{"bearer": []}]})),
        apply("order of sets", json!({"security": []}))
    );
}

#[test]
fn header_parameters_are_in_lower_case_and_others_are_not() {
    assert_eq!(apply("header case", json!({"in": "header", "name": "If-Match"}))["name"], "if-match");
    assert_eq!(apply("header case", json!({"in": "query", "name": "perPage"}))["name"], "perPage");
}

#[test]
fn style_and_explode_are_dropped_where_they_are_the_default_or_mean_nothing() {
    let parameter = |place: &str, schema: Value, more: Value| {
        let mut parameter = json!({"in": place, "schema": schema});
        parameter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let document = json!({"components": {"schemas": {"Tags": {"type": "array"}, "Kind": {"type": "string"}}}});
        let left = apply_within("default serialisation", parameter, &document);
        (left.get("style").cloned(), left.get("explode").cloned())
    };
    let (text, list) = (json!({"type": "string"}), json!({"type": "array"}));
    let list_by_reference = json!({"allOf": [{"$ref": "#/components/schemas/Tags"}], "default": []});
    let text_by_reference = json!({"$ref": "#/components/schemas/Kind"});
    let apart = json!({"explode": false});
    assert_eq!(parameter("query", text, apart.clone()), (None, None));
    assert_eq!(parameter("path", text_by_reference, json!({"explode": true})), (None, None));
    assert_eq!(parameter("query", list.clone(), json!({"style": "form", "explode": true})), (None, None));
    assert_eq!(parameter("query", list.clone(), apart.clone()), (None, Some(json!(false))));
    assert_eq!(parameter("query", list_by_reference, apart), (None, Some(json!(false))));
    assert_eq!(parameter("path", list, json!({"style": "label"})), (Some(json!("label")), None));
}

#[test]
fn empty_parts_are_dropped() {
    assert_eq!(apply("empty parts", json!({"headers": {}, "content": {}})), json!({}));
    let full = json!({"content": {"text/csv": {}}});
    assert_eq!(apply("empty parts", full.clone()), full);
}

#[test]
fn whole_numbers_are_written_without_a_fraction() {
    let schema = json!({"minimum": 1.0, "maximum": 2.5, "enum": [3.0], "default": -4.0});
    let left = apply("whole numbers", schema);
    assert_eq!(left.to_string(), r#"{"minimum":1,"maximum":2.5,"enum":[3],"default":-4}"#);
}

#[test]
fn required_and_enum_have_no_order() {
    let schema = json!({"required": ["b", "a"], "enum": ["y", "x"]});
    assert_eq!(apply("order of required and enum", schema), json!({"required": ["a", "b"], "enum": ["x", "y"]}));
    assert_eq!(apply("order of required and enum", json!({"required": []})), json!({}));
}

#[test]
fn closed_objects_are_not_compared() {
    assert_eq!(apply(CLOSED_OBJECTS, json!({"additionalProperties": false})), json!({}));
    let typed = json!({"additionalProperties": {"type": "string"}});
    assert_eq!(apply(CLOSED_OBJECTS, typed.clone()), typed);
}

#[test]
fn an_empty_schema_of_additional_properties_is_true() {
    assert_eq!(apply("open objects", json!({"additionalProperties": {}})), json!({"additionalProperties": true}));
}

#[test]
fn only_naive_date_is_renamed() {
    assert_eq!(apply("naive-date", json!({"format": "naive-date"})), json!({"format": "date"}));
    for format in ["uint32", "int32", "int64", "date-time", "uuid"] {
        assert_eq!(apply("naive-date", json!({"format": format})), json!({"format": format}));
    }
}

#[test]
fn a_null_default_counts_only_where_null_is_allowed() {
    assert_eq!(apply("null defaults", json!({"default": null})), json!({}));
    for kept in [json!({"default": null, "nullable": true}), json!({"default": 0})] {
        assert_eq!(apply("null defaults", kept.clone()), kept);
    }
}

#[test]
fn the_type_beside_a_nullable_reference_is_dropped() {
    let by_hand = json!({"type": "object", "nullable": true, "allOf": [{"$ref": "#/a"}]});
    let derived = json!({"nullable": true, "allOf": [{"$ref": "#/a"}]});
    assert_eq!(apply("nullable reference type", by_hand), derived);
    let composed = json!({"type": "object", "allOf": [{"$ref": "#/a"}]});
    assert_eq!(apply("nullable reference type", composed.clone()), composed);
}

#[test]
fn defaults_and_flags_stand_beside_all_of() {
    let name = "notes within allOf";
    let by_hand = json!({"default": "todo", "allOf": [{"$ref": "#/a"}]});
    let derived = json!({"default": "todo", "allOf": [{"$ref": "#/a"}, {"default": "todo"}]});
    let inside = json!({"allOf": [{"$ref": "#/a"}, {"default": "todo"}]});
    assert_eq!(apply("notes within allOf", derived), by_hand);
    assert_eq!(apply(name, inside), by_hand);
    let nullable = json!({"nullable": true, "allOf": [{"$ref": "#/a"}, {"nullable": true}, {}]});
    assert_eq!(apply(name, nullable), json!({"nullable": true, "allOf": [{"$ref": "#/a"}]}));
    for kept in [
        json!({"default": 1, "allOf": [{"$ref": "#/a"}, {"default": 2}]}),
        json!({"allOf": [{"$ref": "#/a"}, {"maxLength": 3}]}),
    ] {
        assert_eq!(apply(name, kept.clone()), kept);
    }
}

#[test]
fn all_of_around_one_reference_alone_is_the_reference() {
    assert_eq!(apply("lone allOf", json!({"allOf": [{"$ref": "#/a"}]})), json!({"$ref": "#/a"}));
    let defaulted = json!({"default": 1, "allOf": [{"$ref": "#/a"}]});
    assert_eq!(apply("lone allOf", defaulted.clone()), defaulted);
}
