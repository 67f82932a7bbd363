//! `/openapi.json`: the pages as OpenAPI 3.1 describes them.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::page::{Answer, Content, FAILED, Page, Right, text};

/// The document of these pages.
pub(super) fn document(pages: &[Page]) -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    // What may be left out of a request is not what may be missing from an answer.
    let mut generators =
        Generators { bodies: settings.clone().into_generator(), answers: settings.for_serialize().into_generator() };
    let mut paths: Map<String, Value> = Map::new();
    for page in pages {
        let operation = operation(page, &mut generators);
        let path = paths.entry(page.path).or_insert_with(|| json!({}));
        path[page.method] = operation;
    }
    let mut schemas = generators.answers.take_definitions(true);
    schemas.extend(generators.bodies.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Ringgate admin API",
            "summary": "What a running gateway shows its operators, and what they may order.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "`admin.token` of the configuration: everything." },
                "read_token": { "type": "http", "scheme": "bearer", "description": "`admin.read_token`: for looking only." },
            },
        },
    })
}

/// What makes schemas of types.
struct Generators {
    /// Of requests.
    bodies: SchemaGenerator,
    answers: SchemaGenerator,
}

fn operation(page: &Page, generators: &mut Generators) -> Value {
    let generator = &mut generators.answers;
    let mut responses: Map<String, Value> = Map::new();
    for Answer { status, why, contents } in &page.answers {
        responses.insert(status.to_string(), response(why, contents, generator));
    }
    let stranger = "The host or the origin of the request is none of the gateway's.";
    let refusal = [text("text/plain"), FAILED[0]];
    let forbidden = match page.right {
        Right::Write => "The token is for looking only, or the host or the origin is none of the gateway's.",
        Right::Open | Right::Look => stranger,
    };
    responses.insert("403".to_owned(), response(forbidden, &refusal, generator));
    if page.right != Right::Open {
        responses.insert(
            "401".to_owned(),
            response("The gateway has a token, and none of its was shown.", FAILED, generator),
        );
    }
    let mut operation = json!({
        "summary": page.summary,
        "operationId": name(page),
        "responses": responses,
        // No security at all is an alternative, too: without a token in the configuration, on a unix socket, by a certificate.
        "security": match page.right {
            Right::Open => json!([]),
            Right::Look => json!([{ "token": [] }, { "read_token": [] }, {}]),
            Right::Write => json!([{ "token": [] }, {}]),
        },
    });
    if let Some((what, contents)) = &page.body {
        operation["requestBody"] =
            json!({ "description": what, "required": true, "content": content(contents, &mut generators.bodies) });
    }
    let parameters = parameters(page);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    operation
}

fn response(why: &str, contents: &[Content], generator: &mut SchemaGenerator) -> Value {
    let mut response = json!({ "description": why });
    if !contents.is_empty() {
        response["content"] = content(contents, generator);
    }
    response
}

fn content(contents: &[Content], generator: &mut SchemaGenerator) -> Value {
    let one = |content: &Content| (content.media.to_owned(), json!({ "schema": (content.schema)(generator) }));
    Value::Object(contents.iter().map(one).collect())
}

fn parameters(page: &Page) -> Vec<Value> {
    let names = page.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        names.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_head = page.fields.iter().map(|(field, what_for)| {
        json!({ "name": field, "in": "header", "description": what_for, "schema": { "type": "string" } })
    });
    in_path.chain(in_head).collect()
}

/// A name for programs that are made from the document.
fn name(page: &Page) -> String {
    let words = page.path.split(['/', '.']).filter(|part| !part.is_empty() && !part.starts_with('{'));
    std::iter::once(page.method).chain(words).collect::<Vec<_>>().join("_")
}
