//! The pages of the admin server: each with what serves it and what is told of it, so that the one cannot be without the
//! other.

use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Shared;
use super::answers::Failed;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// Anybody who reaches it.
    Open,
    /// Who may look.
    Look,
    /// Who may do everything.
    Write,
}

/// One method of one path.
pub(super) struct Page {
    /// As axum and OpenAPI write it: `/clusters/{cluster}`.
    pub(super) path: &'static str,
    /// In lower case.
    pub(super) method: &'static str,
    pub(super) summary: &'static str,
    pub(super) right: Right,
    /// What it is sent, if anything.
    pub(super) body: Option<(&'static str, Vec<Content>)>,
    /// Fields of a request that it looks at.
    pub(super) fields: Vec<(&'static str, &'static str)>,
    pub(super) answers: Vec<Answer>,
    pub(super) serves: MethodRouter<Shared>,
}

/// One of its answers.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) why: &'static str,
    /// What it may hold; nothing for an empty one.
    pub(super) contents: Vec<Content>,
}

/// What a body is.
#[derive(Clone, Copy)]
pub(super) struct Content {
    pub(super) media: &'static str,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

/// A JSON body.
pub(super) const fn json<T: JsonSchema>() -> Content {
    Content { media: "application/json", schema: |generator| generator.subschema_for::<T>() }
}

/// A body of some media type, as text.
pub(super) const fn text(media: &'static str) -> Content {
    Content { media, schema: |_| json_schema!({ "type": "string" }) }
}

/// Why a request failed.
pub(super) const FAILED: &[Content] = &[json::<Failed>()];

/// A page that is looked at.
pub(super) fn get<H: Handler<T, Shared>, T: 'static>(path: &'static str, summary: &'static str, serve: H) -> Page {
    Page::new(path, "get", summary, Right::Look, routing::get(serve))
}

/// An order.
pub(super) fn post<H: Handler<T, Shared>, T: 'static>(path: &'static str, summary: &'static str, serve: H) -> Page {
    Page::new(path, "post", summary, Right::Write, routing::post(serve))
}

/// Something that is replaced.
pub(super) fn put<H: Handler<T, Shared>, T: 'static>(path: &'static str, summary: &'static str, serve: H) -> Page {
    Page::new(path, "put", summary, Right::Write, routing::put(serve))
}

impl Page {
    fn new(
        path: &'static str,
        method: &'static str,
        summary: &'static str,
        right: Right,
        serves: MethodRouter<Shared>,
    ) -> Self {
        Self { path, method, summary, right, body: None, fields: Vec::new(), answers: Vec::new(), serves }
    }

    /// Anybody may ask.
    pub(super) fn open(self) -> Self {
        Self { right: Right::Open, ..self }
    }

    /// It is sent one of these.
    pub(super) fn takes(self, what: &'static str, contents: &[Content]) -> Self {
        Self { body: Some((what, contents.to_vec())), ..self }
    }

    /// So many bytes and no more.
    pub(super) fn limited(self, bytes: usize) -> Self {
        Self { serves: self.serves.layer(DefaultBodyLimit::max(bytes)), ..self }
    }

    /// It looks at a field.
    pub(super) fn sees(mut self, field: &'static str, what_for: &'static str) -> Self {
        self.fields.push((field, what_for));
        self
    }

    /// It may answer so.
    pub(super) fn answers(mut self, status: u16, why: &'static str, contents: &[Content]) -> Self {
        self.answers.push(Answer { status, why, contents: contents.to_vec() });
        self
    }
}
