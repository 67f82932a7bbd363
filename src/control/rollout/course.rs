//! What becomes of a configuration that was read; pure.

/// What the files say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// What is in force.
    Current,
    /// What is on trial.
    Candidate,
    /// What was rolled back last.
    Rejected,
    /// Anything else.
    Other,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum Course {
    /// Nothing: it is known.
    Stay,
    /// It is put on trial.
    Stage,
    /// It is put in force at once, and what is on trial given up.
    Publish,
}

/// What is to be done; `by_watch`: nobody but the watch asked for it, or nobody who wants what was rolled back to be tried again.
///
/// | the files say what is | asked by | on trial | course |
/// |---|---|---|---|
/// | in force | the watch | nothing | stay |
/// | in force | the watch | another | publish: the change was taken back |
/// | in force | an operator | any | publish |
/// | on trial | any | this | stay: its trial goes on |
/// | rolled back | the watch | any | stay: it is not tried again by itself |
/// | rolled back | an operator | any | stage, or publish without `reload.stage` |
/// | anything else | any | any | stage, or publish without `reload.stage` |
pub(super) const fn course(files: Files, by_watch: bool, is_running: bool, is_staged: bool) -> Course {
    match files {
        Files::Current if by_watch && !is_running => Course::Stay,
        Files::Current => Course::Publish,
        Files::Candidate => Course::Stay,
        Files::Rejected if by_watch => Course::Stay,
        Files::Rejected | Files::Other => {
            if is_staged {
                Course::Stage
            } else {
                Course::Publish
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_left_alone_and_what_is_new_is_staged_where_that_is_wanted() {
        for (files, by_watch, is_running, staged, at_once) in [
            (Files::Current, true, false, Course::Stay, Course::Stay),
            (Files::Current, true, true, Course::Publish, Course::Publish),
            (Files::Current, false, false, Course::Publish, Course::Publish),
            (Files::Current, false, true, Course::Publish, Course::Publish),
            (Files::Candidate, true, true, Course::Stay, Course::Stay),
            (Files::Candidate, false, true, Course::Stay, Course::Stay),
            (Files::Rejected, true, false, Course::Stay, Course::Stay),
            (Files::Rejected, false, false, Course::Stage, Course::Publish),
            (Files::Other, true, false, Course::Stage, Course::Publish),
            (Files::Other, true, true, Course::Stage, Course::Publish),
            (Files::Other, false, true, Course::Stage, Course::Publish),
        ] {
            assert_eq!(course(files, by_watch, is_running, true), staged, "{files:?} {by_watch} {is_running}");
            assert_eq!(course(files, by_watch, is_running, false), at_once, "{files:?} {by_watch} {is_running}");
        }
    }
}
