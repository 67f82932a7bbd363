//! The document, its file and what is heard of its key, without a server.

use std::fs;

use super::*;
use crate::control::disk::tests::{Folder, replace};

/// A document with a file in a folder, which holds `json`.
fn kept(folder: &Folder, json: &str) -> (LivePolicies, PathBuf) {
    let path = folder.0.join("policy.json");
    replace(&path, json).unwrap();
    let mut policies = LivePolicies::new(1);
    policies.follow(Some(&config::LivePolicy { file: Some(path.clone()), redis: None }));
    (policies, path)
}

fn heard(json: &str) -> News {
    News::Shared(shared::Told::Value(Some(json.as_bytes().to_vec())))
}

fn rate(policies: &LivePolicies) -> u64 {
    policies.document.rate_limit.as_u64().unwrap()
}

#[tokio::test]
async fn what_comes_from_elsewhere_is_kept_in_the_file() {
    let folder = Folder::new("policy-kept");
    // It says when it was changed: without that the time of the file would tell two seconds from each other.
    let text = r#"{"rateLimit": 100, "updatedAt": "2026-01-31"}"#;
    let (mut policies, path) = kept(&folder, text);
    assert_eq!(policies.take(heard(r#"{"rateLimit": 200}"#)), Some(Author::Redis));
    // The same text again is no change that anybody made.
    replace(&path, text).unwrap();
    policies.settle().await;
    assert!(fs::read_to_string(&path).unwrap().contains("200"));
    assert_eq!((policies.look(), rate(&policies)), (None, 200));
}

#[tokio::test]
async fn an_edit_that_was_not_looked_at_yet_is_not_overwritten_by_what_comes_from_elsewhere() {
    let folder = Folder::new("policy-edited");
    let (mut policies, path) = kept(&folder, r#"{"rateLimit": 100}"#);
    assert_eq!(policies.take(heard(r#"{"rateLimit": 200}"#)), Some(Author::Redis));
    replace(&path, r#"{"rateLimit": 300}"#).unwrap();
    policies.settle().await;
    assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"rateLimit": 300}"#);
    assert_eq!((policies.look(), rate(&policies)), (Some(Author::File), 300));
    assert_eq!(policies.shown().trouble, None);
    policies.settle().await;
    assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"rateLimit": 300}"#);
}
