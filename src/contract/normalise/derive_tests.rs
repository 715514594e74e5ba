//! The document that poem-openapi derives has the same normal form as one that is written by hand. Most rules exist for
//! this reason.
use super::*;
use crate::contract::compare::{Report, differences};
use poem_openapi::auth::Bearer;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, OpenApiService, SecurityScheme};

#[derive(Enum)]
#[oai(rename_all = "snake_case")]
enum Status {
    Todo,
    Done,
}

impl Status {
    fn first() -> Self {
        Self::Todo
    }
}

#[derive(Object)]
struct Owner {
    name: String,
}

/// A task.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Task {
    /// What is to be done.
    #[oai(validator(min_length = 1, max_length = 200))]
    title: String,
    #[oai(default = "Status::first")]
    status: Status,
    /// The user who does it.
    owner: Option<Owner>,
    previous: Status,
    #[oai(validator(minimum(value = "1"), maximum(value = "53")))]
    week: Option<u32>,
    due: Option<chrono::NaiveDate>,
    at: chrono::DateTime<chrono::Utc>,
    tags: Vec<String>,
    more: std::collections::HashMap<String, i64>,
}

#[derive(SecurityScheme)]
#[oai(ty = "bearer", rename = "bearerAuth", bearer_format = "JWT")]
struct Auth(#[expect(dead_code, reason = "only its document matters")] Bearer);

#[derive(ApiResponse)]
enum Answer {
    /// The task.
    #[oai(status = 200)]
    Ok(Json<Task>, #[oai(header = "ETag")] String),
    /// None.
    #[oai(status = 404)]
    NotFound,
}

struct Api;

#[OpenApi]
impl Api {
    /// Replace a task
    #[oai(path = "/tasks/:task_id", method = "put", operation_id = "task_replace")]
    async fn replace(
        &self,
        _auth: Auth,
        #[oai(name = "task_id")] _id: Path<uuid::Uuid>,
        #[oai(name = "page", default)] _page: Query<Option<u32>>,
        #[oai(name = "fields", explode = false)] _fields: Query<Option<Vec<String>>>,
        #[oai(name = "If-Match")] _if_match: Header<Option<String>>,
        body: Json<Task>,
    ) -> Answer {
        if body.0.title.is_empty() { Answer::NotFound } else { Answer::Ok(body, String::new()) }
    }
}

const BY_HAND: &str = r##"
openapi: 3.0.3
info: {title: T, version: '1', description: Text}
servers: [{url: /}]
paths:
  /tasks/{task_id}:
    parameters:
      - {name: task_id, in: path, required: true, description: Which., schema: {type: string, format: uuid}}
    put:
      operationId: task_replace
      summary: Replace the task
      security: [{bearerAuth: []}]
      parameters:
        - {name: If-Match, in: header, schema: {type: string}}
        - {name: fields, in: query, explode: false, schema: {type: array, items: {type: string}}}
        - {name: page, in: query, schema: {type: integer, format: uint32}}
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: '#/components/schemas/Task'}, example: {}}}
      responses:
        '200':
          description: It
          headers: {ETag: {$ref: '#/components/headers/ETag'}}
          content: {application/json: {schema: {$ref: '#/components/schemas/Task'}}}
        '404': {description: Nothing}
components:
  headers: {ETag: {required: true, schema: {type: string}}}
  securitySchemes: {bearerAuth: {type: http, scheme: bearer, bearerFormat: JWT, description: Token}}
  schemas:
    Status: {type: string, enum: [done, todo]}
    Owner: {type: object, required: [name], properties: {name: {type: string}}}
    Task:
      type: object
      additionalProperties: false
      required: [at, more, previous, tags, title]
      properties:
        title: {type: string, minLength: 1, maxLength: 200}
        status: {default: todo, allOf: [{$ref: '#/components/schemas/Status'}]}
        owner: {allOf: [{$ref: '#/components/schemas/Owner'}]}
        previous: {$ref: '#/components/schemas/Status'}
        week: {type: integer, format: uint32, minimum: 1, maximum: 53}
        due: {type: string, format: date}
        at: {type: string, format: date-time}
        tags: {type: array, items: {type: string}}
        more: {type: object, additionalProperties: {type: integer, format: int64}}
"##;

#[test]
fn the_derived_document_is_the_one_written_by_hand() {
    let derived = OpenApiService::new(Api, "T", "1").server("/").spec();
    let derived = normalise(&serde_json::from_str(&derived).unwrap());
    let by_hand = normalise(&serde_yaml_ng::from_str(BY_HAND).unwrap());
    let found = differences(&by_hand, &derived);
    assert!(found.is_empty(), "{}", Report(&found));
    let other = normalise(&serde_yaml_ng::from_str(&BY_HAND.replace("maximum: 53", "maximum: 52")).unwrap());
    assert_eq!(differences(&other, &derived).len(), 1, "it does look");
}
