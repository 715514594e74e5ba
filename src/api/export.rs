//! `GET …/export` returns a whole list as CSV or NDJSON. The rows are read in batches, so that neither memory nor a
//! database connection is held while a slow client reads.
use super::query::{QueryParams, Search, members_of, parse_sort, part, sort_member};
use crate::api::Caller;
use crate::api::list::{At, BatchSize, Filter, List, Page};
use crate::auth::Permission;
use crate::base::error::{Error, Result};
use crate::base::formats::is_invisible;
use crate::db::{Db, ReadTx};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use poem::{Body, IntoResponse, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Enum, Object};
use serde_json::{Map, Value};

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
#[oai(rename = "ExportFormat")]
pub enum Format {
    #[default]
    Csv,
    Ndjson,
}

#[derive(Object)]
struct Layout {
    #[oai(default)]
    format: Format,
    /// Whether the file begins with a byte order mark.
    #[oai(default)]
    bom: bool,
    /// The columns, in this order. If it is absent, all columns are exported.
    fields: Option<Vec<String>>,
}

/// The parameters of an export: those of a list, without its paging.
pub struct ExportOf<F: Filter> {
    format: Format,
    /// Whether the file begins with a byte order mark. Without one, some spreadsheets read the file in a legacy
    /// encoding of their region.
    bom: bool,
    fields: Vec<String>,
    list: List<F>,
}

impl<F: Filter> QueryParams for ExportOf<F> {
    fn describe(registry: &mut Registry) -> MetaSchema {
        let mut properties = members_of::<Layout>(registry);
        for (_, fields) in properties.iter_mut().filter(|(name, _)| *name == "fields") {
            let names = columns::<F::Item>().into_iter().map(Value::from).collect();
            let items = MetaSchema { enum_items: names, ..MetaSchema::new("string") };
            let items = Some(Box::new(MetaSchemaRef::Inline(Box::new(items))));
            // `parse` tests uniqueness, because the schema check does not.
            let (min_items, unique_items) = (Some(1), Some(true));
            let schema = MetaSchema { items, min_items, unique_items, ..fields.unwrap_inline().clone() };
            *fields = MetaSchemaRef::Inline(Box::new(schema));
        }
        properties.push(sort_member::<F::Column>(registry));
        properties.extend(members_of::<Search>(registry));
        properties.extend(members_of::<F>(registry));
        MetaSchema { properties, ..MetaSchema::new("object") }
    }

    fn parse(members: Map<String, Value>) -> Result<Self> {
        let Layout { format, bom, fields } = part(&members)?;
        if bom && format != Format::Csv {
            return Err(Error::invalid("bom", "is only for `format=csv`, because JSON has no byte order mark"));
        }
        let fields = fields.unwrap_or_else(|| columns::<F::Item>().into_iter().map(str::to_owned).collect());
        if let Some(repeated) = fields.iter().enumerate().find(|(index, field)| fields[..*index].contains(field)) {
            return Err(Error::invalid("fields", format!("names {} twice", repeated.1)));
        }
        let Search { q } = part(&members)?;
        let (filter, sort) = (part(&members)?, parse_sort(&members)?);
        let list = List { filter, q, sort, per_page: BatchSize::FIRST.per_page(), at: At::Cursor(None) };
        Ok(Self { format, bom, fields, list })
    }
}

/// The names of the members of an answer, in the order of the document.
fn columns<T: Type>() -> Vec<&'static str> {
    members_of::<T>(&mut Registry::new()).into_iter().map(|(name, _)| name).collect()
}

pub struct Export {
    format: Format,
    body: Body,
}

impl Export {
    /// Calls `page` for one batch after the other, each with a lease of its own. The first batch is awaited, so that
    /// its error still gets a proper error answer. An error in a later batch cuts the connection. Before each later
    /// batch the caller is checked again, so that a caller with an ended session gets no more rows.
    pub async fn stream<F, A, P>(db: Db, caller: Caller<A>, export: ExportOf<F>, page: P) -> Result<Self>
    where
        F: Filter,
        A: Permission,
        P: for<'a> Fn(&'a mut ReadTx, &'a List<F>) -> BoxFuture<'a, Result<Page<F::Item>>> + Send + Sync + 'static,
    {
        let ExportOf { format, bom, fields, mut list } = export;
        let slot = caller.begin_export()?;
        let first = db.read_at(list.cost_of_export(), &caller, async |tx| page(tx, &list).await).await;
        let first = first.map_err(|error| list.advise(error))?;
        let head = match format {
            Format::Csv => csv_row(fields.iter().map(String::as_str)),
            Format::Ndjson => String::new(),
        };
        let (text, size) = print_batch(format, &fields, first, BatchSize::FIRST, &mut list);
        let head = format!("{}{head}{text}", if bom { "\u{feff}" } else { "" });

        let start = (list, db, caller, page, fields, size, slot);
        let rest = stream::try_unfold(start, move |(mut list, db, caller, page, fields, size, slot)| async move {
            if matches!(list.at, At::Cursor(None)) {
                return Ok(None);
            }
            caller.recheck().await?;
            let batch = db.read_at(list.cost_of_export(), &caller, async |tx| page(tx, &list).await).await?;
            let (text, size) = print_batch(format, &fields, batch, size, &mut list);
            Ok(Some((text, (list, db, caller, page, fields, size, slot))))
        });
        let rest = rest.map_err(|error: Error| {
            tracing::error!(?error, "An export broke off");
            std::io::Error::other(error)
        });
        Ok(Self { format, body: Body::from_bytes_stream(stream::once(async { Ok(head) }).chain(rest)) })
    }
}

/// Renders as many rows of a page as fit into a batch. The list then continues after them.
fn print_batch<F: Filter>(
    format: Format,
    fields: &[String],
    page: Page<F::Item>,
    size: BatchSize,
    list: &mut List<F>,
) -> (String, BatchSize) {
    let (rows, is_cut, size) = size.fit(page.items.iter().filter_map(ToJSON::to_json));
    let next = match rows.last().filter(|_| is_cut) {
        Some(last) => Some(list.cursor_after(last)),
        None => page.meta.next_cursor,
    };
    (list.at, list.per_page) = (At::Cursor(next), size.per_page());
    let print = |mut row: Value| match format {
        Format::Csv => csv_row(fields.iter().map(|field| cell(row[field].take()))),
        Format::Ndjson => {
            let members: Map<_, _> = fields.iter().map(|field| (field.clone(), row[field].take())).collect();
            format!("{}\n", Value::Object(members))
        }
    };
    (rows.into_iter().map(print).collect(), size)
}

/// The text of a cell.
fn cell(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => defused(text),
        Value::Array(items) => items.into_iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(_) => defused(value.to_string()), // its texts are not cells of their own, but may contain `;`
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Changes a text so that no spreadsheet reads it as a formula (OWASP, CSV Injection). An apostrophe is put before the
/// text if it would begin a formula. Some spreadsheets separate cells by `;` or tabs and then ignore the quotation
/// marks. So an apostrophe is also put before each part that would begin a formula there. A text that already has
/// apostrophes before a formula gets one more, so that the original text can be restored.
fn defused(text: String) -> String {
    let mut starts = vec![];
    // Whether the text that continues here, and its part up to the next separator, begins with the sign of a formula.
    // The loop runs from the end, so that it visits each character once.
    let (mut text_begins, mut part_begins) = (false, false);
    for (at, c) in text.char_indices().rev() {
        if !is_passed_over(c) {
            (text_begins, part_begins) = (is_formula_sign(c), is_formula_sign(c));
        }
        if separates(c) {
            part_begins = false;
        }
        let is_start = match at {
            0 => text_begins,
            _ => part_begins && text[..at].ends_with(separates),
        };
        if is_start {
            starts.push(at);
        }
    }
    let mut defused = String::with_capacity(text.len() + starts.len());
    let mut done = 0;
    for start in starts.into_iter().rev() {
        defused.push_str(&text[done..start]);
        defused.push('\'');
        done = start;
    }
    defused.push_str(&text[done..]);
    defused
}

/// The signs that begin a formula. East Asian spreadsheets treat the full-width and small forms alike.
fn is_formula_sign(c: char) -> bool {
    matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '﹦' | '﹢' | '﹣' | '﹫')
}

/// The characters that separate cells or rows in some spreadsheet.
fn separates(c: char) -> bool {
    matches!(c, ';' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// The characters that may precede the sign of a formula: those that spreadsheets drop or ignore, and the apostrophes
/// that this module adds.
fn is_passed_over(c: char) -> bool {
    c.is_whitespace() || c.is_control() || is_invisible(c) || c == '\''
}

/// One line of CSV (RFC 4180).
fn csv_row<T: AsRef<[u8]>>(cells: impl Iterator<Item = T>) -> String {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(vec![]);
    // Writing to memory does not fail.
    let _ = writer.write_record(cells);
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

const fn content_type(format: Format) -> &'static str {
    match format {
        Format::Csv => "text/csv",
        Format::Ndjson => "application/x-ndjson",
    }
}

impl IntoResponse for Export {
    fn into_response(self) -> Response {
        let name = match self.format {
            Format::Csv => "attachment; filename=\"export.csv\"",
            Format::Ndjson => "attachment; filename=\"export.ndjson\"",
        };
        let response = Response::builder().content_type(content_type(self.format));
        response.header("content-disposition", name).body(self.body)
    }
}
/// Declares an answer that is always NDJSON, for the document.
pub fn ndjson_response(description: &'static str) -> MetaResponse {
    file_response(description, vec![Format::Ndjson])
}

fn file_response(description: &'static str, formats: Vec<Format>) -> MetaResponse {
    let media = |format| MetaMediaType { content_type: content_type(format), schema: String::schema_ref() };
    MetaResponse {
        description,
        status: Some(200),
        status_range: None,
        content: formats.into_iter().map(media).collect(),
        headers: vec![crate::base::error_body::header("Content-Disposition", "string")],
    }
}

impl ApiResponse for Export {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![file_response("The whole list", vec![Format::Csv, Format::Ndjson])] }
    }
    fn register(_: &mut Registry) {}
}

#[cfg(test)]
mod tests;
