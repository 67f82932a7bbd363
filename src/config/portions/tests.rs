//! What is read in portions is what is read as a whole.

use std::fmt::Write as _;

use super::*;

fn whole(source: &str) -> Option<String> {
    let document = Document::deserialize(serde_yaml::Deserializer::from_str(source)).ok();
    document.map(|document| format!("{document:?}"))
}

fn in_portions(source: &str) -> Option<String> {
    read(source).map(|document| format!("{document:?}"))
}

/// So many entries that it takes several portions, each behind `indent`; `odd` is one of them.
fn entries(indent: &str, odd: &str) -> String {
    let mut text = String::new();
    for number in 0..600 {
        let path = format!("/p{number}/*");
        match number % 4 {
            0 => writeln!(text, "{indent}- {{ name: r{number}, match: {{ path: '{path}' }}, cluster: app }}"),
            1 => writeln!(text, "{indent}- name: r{number}\n{indent}  match:\n{indent}    path: {path}\n{indent}  cluster: app"),
            2 => writeln!(text, "\n{indent}# {number}\n{indent}- name: r{number}\n{indent}  respond: {{ status: 200, body: \"- a # b\" }}"),
            _ => writeln!(
                text,
                "{indent}- name: r{number}\n{indent}  policies:\n{indent}  - one\n{indent}  - two\n{indent}  respond:\n\
                 {indent}    status: 200\n{indent}    body: |\n{indent}      - name: x\n\n{indent}      routes:\n"
            ),
        }
        .expect("a text takes all");
        if number == 300 {
            text += odd;
        }
    }
    text
}

const HEAD: &str = "# all of it\nversion: 1\nclusters: { app: { endpoints: [{ url: 'http://127.0.0.1:1' }] } }\n";

#[test]
fn routes_come_out_the_same_wherever_they_stand_and_however_they_are_indented() {
    for indent in ["", " ", "  ", "    "] {
        let entries = entries(indent, "");
        for text in [
            format!("{HEAD}routes:\n{entries}"),
            format!("routes:\n\n  # first\n{entries}{HEAD}"),
            format!("---\n{HEAD}routes: \n{entries}# more\npolicies: {{}}\n...\n"),
            format!("{HEAD}routes:\n{entries}\n\npolicy: {{}}").replace('\n', "\r\n"),
        ] {
            assert!(text.len() > LEAST_BYTES);
            let parts = Parts::of(&text).expect("a list of routes");
            assert!(parts.portions().count() >= 4);
            assert_eq!(parts.portions().collect::<String>(), parts.entries);
            let read = in_portions(&text).expect("it is read");
            assert!(read.contains("r599"));
            assert!(Some(read) == whole(&text), "{indent:?}");
        }
    }
}

#[test]
fn what_is_no_plain_list_of_routes_is_left_to_the_whole() {
    let entries = entries("  ", "");
    let list = format!("routes:\n{entries}");
    for text in [
        format!("{{\n{list}}}\n"),
        format!("a: \"\n{list}\"\n"),
        format!("--- |\n{list}"),
        format!("--- abc\n{list}"),
        format!("{{}}\n{list}"),
        format!("%TAG ! tag:x,2000:\n---\n{list}"),
        format!("{list}{list}"),
        format!("{list}routes: []\n"),
        format!("version: 1\n{list}version: 1\n"),
        format!("{list}---\nversion: 1\n"),
        format!("{list} - name: less\n"),
        format!("{list}- name: less\n"),
        format!("{list}  -\n    name: x\n"),
        format!("{list}  name: x\n"),
        format!("{list}\tname: x\n"),
        format!("{list}unknown: 1\n"),
        format!("routes: # all\n{entries}"),
        format!("routes: &all\n{entries}"),
    ] {
        assert!(text.len() > LEAST_BYTES);
        assert!(in_portions(&text).is_none(), "{}", &text[..30]);
    }
}

#[test]
fn an_odd_entry_changes_nothing_of_that() {
    let mut portioned = 0;
    for odd in [
        "  - { name: \"a\n  - b\", cluster: app }\n",
        "  - { name: 'a',\n  cluster: app }\n",
        "  - name: >-\n      a\n\n      b\n    cluster: app\n",
        "  - name: |1+\n    - a\n\n\n",
        "  - name: a\n  # odd\n\n",
        "  -  name: a\n     cluster: app\n",
        "  - - a\n    - b\n",
        "  - name: a\r  - name: b\n",
        "  - name: a\u{2028}  - name: b\n",
        "  - name: \"a\n",
        "  - name: a }\n",
        "  - !tag { name: a }\n",
        "  - ? name\n    : a\n",
        "  - *name\n",
        "  - ~\n",
        "  - \n",
        "  -\n",
        "  - name: a\n    name: b\n",
        "  - nmae: a\n",
        "    more\n",
        "   - name: a\n",
        " - name: a\n",
        "- name: a\n",
        "...\n",
    ] {
        let text = format!("{HEAD}routes:\n{}", entries("  ", odd));
        assert!(text.len() > LEAST_BYTES);
        let read = in_portions(&text);
        assert!(read.is_none() || read == whole(&text), "{odd:?}");
        portioned += usize::from(read.is_some());
    }
    assert!(portioned >= 6, "{portioned}");
}

#[test]
fn a_small_file_is_read_as_a_whole() {
    assert!(read("version: 1\nroutes:\n  - { name: a, respond: { status: 200 } }\n").is_none());
}
