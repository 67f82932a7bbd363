//! The dashboard: one page that holds all it needs and asks nobody but the gateway for anything.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::IntoResponse as _;
use data_encoding::BASE64;

use super::page::{Page, get, text};

const PAGE: &str = include_str!("dashboard/page.html");
const STYLE: &str = include_str!("dashboard/page.css");
const SCRIPT: &str = include_str!("dashboard/page.js");
/// Where the page has its style and its script.
const PLACES: [&str; 2] = ["/*style*/", "/*script*/"];

/// The page at `/`, which needs no token, as there is nothing of the gateway in it.
pub(super) fn pages() -> Vec<Page> {
    let (page, fields) = (page(), fields());
    let serve = move || async move { (fields, page).into_response() };
    vec![get("/", "The dashboard.", serve).open().answers(
        200,
        "A page that asks for a token where one is needed.",
        &[text("text/html")],
    )]
}

fn page() -> String {
    PAGE.replacen(PLACES[0], STYLE, 1).replacen(PLACES[1], SCRIPT, 1)
}

fn fields() -> HeaderMap {
    let policy = HeaderValue::try_from(policy()).expect("names of sources and hashes in base64");
    let fixed = HeaderValue::from_static;
    [
        (CONTENT_TYPE, fixed("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, fixed("no-cache")),
        (X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (X_FRAME_OPTIONS, fixed("DENY")),
        (REFERRER_POLICY, fixed("no-referrer")),
    ]
    .into_iter()
    .collect()
}

/// What the page may do (Content Security Policy, level 3): run its own script, look by its own style, and ask the gateway.
/// Text cannot become markup in it.
fn policy() -> String {
    let mut policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; img-src data:; \
                      connect-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'"
        .to_owned();
    for (kind, text) in [("style", STYLE), ("script", SCRIPT)] {
        let hash = BASE64.encode(digest(&SHA256, text.as_bytes()).as_ref());
        let _ = write!(policy, "; {kind}-src 'sha256-{hash}'");
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_what_it_runs_is_what_its_policy_allows() {
        let page = page();
        let between =
            |open: &str, close: &str| page.split_once(open).unwrap().1.split_once(close).unwrap().0.to_owned();
        for (kind, text) in [("style", between("<style>", "</style>")), ("script", between("<script>", "</script>"))] {
            let hash = BASE64.encode(digest(&SHA256, text.as_bytes()).as_ref());
            assert!(policy().contains(&format!("{kind}-src 'sha256-{hash}'")), "{kind}");
        }
        assert!(PLACES.iter().all(|place| !page.contains(place)));
        assert_eq!((page.matches("<script").count(), page.matches("<style").count()), (1, 1));
    }

    #[test]
    fn the_page_names_no_other_place_and_makes_no_markup_of_text() {
        let page = page().replace("http://www.w3.org/2000/svg", "");
        for word in
            ["http:", "https:", "//cdn", "@import", "url(", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("]
        {
            assert!(!page.contains(word), "{word}");
        }
        for attribute in [" style=", " onclick=", " src="] {
            assert!(!page.contains(attribute), "{attribute}");
        }
    }
}
