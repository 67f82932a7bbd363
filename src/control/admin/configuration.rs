//! `/config`: what is in force, and a new main file.

use std::num::NonZeroU32;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::Shared;
use super::answers::{Failed, failed, stopping};
use super::page::{FAILED, Page, get, json, put, text};
use crate::control::put::{Condition, Order, Refused, Taken};
use crate::limits::CONFIG_PUT_BYTES;

const YAML: &str = "application/yaml";
/// Media types of YAML (RFC 9512), and of JSON, which is YAML as well.
const TYPES: [&str; 6] = [YAML, "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain", "application/json"];

/// What is in force.
#[derive(Debug, Serialize, JsonSchema)]
struct InForce {
    /// Its epoch.
    epoch: u64,
    /// Every value, as a configuration has it.
    config: Map<String, Value>,
    /// Where each value comes from, by JSON pointers (RFC 6901).
    origins: Map<String, Value>,
}

/// A configuration was taken.
#[derive(Debug, Serialize, JsonSchema)]
struct Kept {
    /// `ok`.
    status: &'static str,
    /// The epoch, by which every worker serves.
    epoch: u64,
    /// The entity tag of the new file.
    etag: String,
    /// The number of the trial that it is on, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<u32>,
}

pub(super) fn pages() -> Vec<Page> {
    let shown = "YAML, or JSON where `Accept` asks for it; `ETag` is that of the main file.";
    let report = "It is invalid: what `ringgate check` prints, or JSON where `Accept` asks for it.";
    vec![
        get("/config", "The configuration in force, with the origin of each value; no secrets.", config)
            .answers(200, shown, &[text(YAML), json::<InForce>()])
            .answers(503, "Nothing is in force yet.", FAILED),
        put("/config", "Puts another main file in force and on the disk, or neither.", put_config)
            .limited(CONFIG_PUT_BYTES)
            .takes("The whole text of the main file; what it includes stays as it is.", &[text(YAML)])
            .sees(
                "If-Match",
                "The `ETag` that the file must have, or `*`; if left out, the one that was taken up last.",
            )
            .answers(200, "Every worker serves by it.", &[json::<Kept>()])
            .answers(400, report, &[text("text/plain"), json::<Failed>()])
            .answers(409, "The file was changed since it was taken up, or there is none.", FAILED)
            .answers(412, "The file is another one than `If-Match` says.", FAILED)
            .answers(413, "It is larger than 8 MiB.", FAILED)
            .answers(415, "It is said to be something else than YAML.", FAILED)
            .answers(500, "It could not be written, or a worker did not take it up in time.", FAILED)
            .answers(503, "An upgrade is under way, or the gateway shuts down.", FAILED)
            .answers(507, "The disk is full.", FAILED),
    ]
}

async fn config(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let Some((epoch, written)) = shared.board.written() else {
        return failed(StatusCode::SERVICE_UNAVAILABLE, "nothing is in force yet");
    };
    let (tag, is_json) = (written.tag(), wants_json(&headers));
    // A large one takes a while, in which other pages are served.
    let showing = tokio::task::spawn_blocking(move || {
        if !is_json {
            return ([(CONTENT_TYPE, YAML)], written.to_yaml(epoch)).into_response();
        }
        let (config, origins) = written.to_json();
        Json(InForce { epoch, config, origins }).into_response()
    });
    match showing.await {
        Ok(shown) => ([(VARY, "accept")], tagged(tag), shown).into_response(),
        Err(_) => failed(StatusCode::SERVICE_UNAVAILABLE, "it cannot be shown"),
    }
}

async fn put_config(State(shared): State<Shared>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default());
    let is_yaml = |kind: &str| {
        let media = kind.split(';').next().unwrap_or_default().trim();
        TYPES.iter().any(|known| known.eq_ignore_ascii_case(media))
    };
    if !kind.is_none_or(is_yaml) {
        return failed(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send YAML, with `Content-Type: application/yaml`");
    }
    let text = match body {
        Ok(text) => text,
        Err(refused) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let most = CONFIG_PUT_BYTES >> 20;
            return failed(StatusCode::PAYLOAD_TOO_LARGE, &format!("a configuration has at most {most} MiB here"));
        }
        Err(refused) => return failed(refused.status(), &refused.body_text()),
    };
    let condition = condition(&headers);
    let (reply, answer) = oneshot::channel();
    if shared.orders.puts.send((Order { text, condition }, reply)).await.is_err() {
        return stopping();
    }
    match answer.await {
        Ok(Ok(Taken { epoch, tag, rollout, is_adopted: true })) => {
            let rollout = rollout.map(NonZeroU32::get);
            (tagged(Some(tag.clone())), Json(Kept { status: "ok", epoch, etag: tag, rollout })).into_response()
        }
        Ok(Ok(Taken { epoch, .. })) => {
            let why = format!("it is kept, and in force as epoch {epoch}, but a worker did not take it up in time");
            failed(StatusCode::INTERNAL_SERVER_ERROR, &why)
        }
        Ok(Err(refused)) => refusal(&refused, wants_json(&headers)),
        Err(_) => stopping(),
    }
}

fn refusal(refused: &Refused, is_json: bool) -> Response {
    let (status, tag) = match refused {
        Refused::Invalid(report) if !is_json => return (StatusCode::BAD_REQUEST, report.clone()).into_response(),
        Refused::Invalid(_) => (StatusCode::BAD_REQUEST, None),
        Refused::Changed(tag) => (StatusCode::CONFLICT, tag.clone()),
        Refused::Mismatch(tag) => (StatusCode::PRECONDITION_FAILED, tag.clone()),
        Refused::NoFile => (StatusCode::CONFLICT, None),
        Refused::Unkept { is_full: true, .. } => (StatusCode::INSUFFICIENT_STORAGE, None),
        Refused::Unkept { .. } => (StatusCode::INTERNAL_SERVER_ERROR, None),
        Refused::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, None),
    };
    (tagged(tag), failed(status, &refused.why())).into_response()
}

/// What the file must be: entity tags (RFC 9110 section 13.1.1); a weak one is no match.
fn condition(headers: &HeaderMap) -> Condition {
    let mut tags = Vec::new();
    let mut is_said = false;
    for value in headers.get_all(IF_MATCH) {
        is_said = true;
        for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            if tag == "*" {
                return Condition::Any;
            }
            tags.push(tag.to_owned());
        }
    }
    if is_said { Condition::Tags(tags) } else { Condition::Unsaid }
}

fn tagged(tag: Option<String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A tag is hexadecimal digits in quotes.
    if let Some(value) = tag.and_then(|tag| tag.parse().ok()) {
        headers.insert(ETAG, value);
    }
    headers
}

/// YAML is what is asked for by whoever does not say.
fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    accept.contains("json") && !accept.contains("yaml")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn with(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn if_match_is_a_list_of_tags_or_a_star() {
        let tags = |values: &[&str]| condition(&with(IF_MATCH, values));
        let of = |tags: &[&str]| Condition::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(tags(&[]), Condition::Unsaid);
        assert_eq!(tags(&["*"]), Condition::Any);
        assert_eq!(tags(&["\"a\" , \"b\"", "\"c\""]), of(&["\"a\"", "\"b\"", "\"c\""]));
        // What is said and makes no sense is met by nothing.
        assert_eq!(tags(&[""]), of(&[""]));
        assert_eq!(tags(&["W/\"a\""]), of(&["W/\"a\""]));
    }

    #[test]
    fn json_is_for_those_who_ask_for_it() {
        for (accept, is_json) in
            [("application/json", true), ("*/*", false), ("application/yaml, application/json", false)]
        {
            assert_eq!(wants_json(&with(ACCEPT, &[accept])), is_json, "{accept}");
        }
        assert!(!wants_json(&HeaderMap::new()));
    }
}
