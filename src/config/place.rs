//! Places in the configuration: which file, and the keys and indices that lead to a value.

/// One step of a path while it is walked.
#[derive(Debug, Clone, Copy)]
enum Link<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

/// A place while it is walked: a list linked through the stack, so that an unremarkable value costs nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    file: usize,
    parent: Option<&'a Self>,
    link: Link<'a>,
}

impl<'a> At<'a> {
    pub(super) fn root(file: usize) -> Self {
        At { file, parent: None, link: Link::Root }
    }

    pub(super) fn key<'b>(&'b self, key: &'b str) -> At<'b> {
        At { file: self.file, parent: Some(self), link: Link::Key(key) }
    }

    pub(super) fn index(&self, index: usize) -> At<'_> {
        At { file: self.file, parent: Some(self), link: Link::Index(index) }
    }

    /// The same place as a value of its own.
    pub(super) fn place(&self) -> Place {
        let mut steps = Vec::new();
        let mut here = Some(self);
        while let Some(at) = here {
            match at.link {
                Link::Root => {}
                Link::Key(key) => steps.push(Step::Key(key.to_owned())),
                Link::Index(index) => steps.push(Step::Index(index)),
            }
            here = at.parent;
        }
        steps.reverse();
        Place { file: self.file, steps }
    }
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A place in one of the files of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Index of the file in the order read.
    pub(super) file: usize,
    pub(super) steps: Vec<Step>,
}

impl Place {
    pub(super) fn root(file: usize) -> Self {
        Self { file, steps: Vec::new() }
    }

    pub(super) fn child(&self, step: Step) -> Self {
        let mut steps = self.steps.clone();
        steps.push(step);
        Self { file: self.file, steps }
    }

    /// The place that holds this one; the root holds itself.
    pub(super) fn parent(&self) -> Self {
        let mut steps = self.steps.clone();
        steps.pop();
        Self { file: self.file, steps }
    }

    /// This place in words, for the end of a message: ` in listener `web``; empty at the root.
    /// `route_name` tells the name of the route at an index.
    pub(super) fn phrase(&self, route_name: impl Fn(usize) -> Option<String>) -> String {
        let (subject, rest) = match self.steps.as_slice() {
            [] => return String::new(),
            [Step::Key(group), Step::Key(name), rest @ ..] if group == "listeners" || group == "clusters" => {
                (Some(format!("{} `{name}`", &group[..group.len() - 1])), rest)
            }
            [Step::Key(group), Step::Index(index), rest @ ..] if group == "routes" => {
                let name = route_name(*index).map_or_else(|| (index + 1).to_string(), |name| format!("`{name}`"));
                (Some(format!("route {name}")), rest)
            }
            rest => (None, rest),
        };
        let mut words: Vec<String> = subject.into_iter().collect();
        for step in rest.iter().rev().take(2).collect::<Vec<_>>().into_iter().rev() {
            words.push(match step {
                Step::Key(key) => format!("`{key}`"),
                Step::Index(index) => format!("entry {}", index + 1),
            });
        }
        words.reverse();
        format!(" in {}", words.join(" of "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrase(steps: Vec<Step>) -> String {
        Place { file: 0, steps }.phrase(|index| (index == 0).then(|| "docs".to_owned()))
    }

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    #[test]
    fn a_walked_place_equals_the_same_steps_in_order() {
        let root = At::root(3);
        let routes = root.key("routes");
        let route = routes.index(7);
        let place = route.key("match").place();
        assert_eq!(place, Place { file: 3, steps: vec![key("routes"), Step::Index(7), key("match")] });
        assert_eq!(place.parent().parent().parent().parent(), Place::root(3));
    }

    #[test]
    fn a_phrase_names_the_item_and_the_part_of_it() {
        assert_eq!(phrase(vec![]), "");
        assert_eq!(phrase(vec![key("admin")]), " in `admin`");
        assert_eq!(phrase(vec![key("listeners"), key("web")]), " in listener `web`");
        assert_eq!(phrase(vec![key("listeners"), key("web"), key("limits")]), " in `limits` of listener `web`");
        assert_eq!(
            phrase(vec![key("clusters"), key("app"), key("endpoints"), Step::Index(1)]),
            " in entry 2 of `endpoints` of cluster `app`"
        );
        assert_eq!(phrase(vec![key("routes"), Step::Index(0)]), " in route `docs`");
        assert_eq!(phrase(vec![key("routes"), Step::Index(1)]), " in route 2");
    }
}
