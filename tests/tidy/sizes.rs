//! How long a file and a function may be, in lines that hold code.

use crate::source::Source;

/// Code lines of one file.
const FILE_CODE_LINES: usize = 600;
/// Lines of one file with everything.
const FILE_LINES: usize = 700;
/// Code lines of one function, its head included.
const FUNCTION_CODE_LINES: usize = 70;

/// Files and functions of `source` that are too long; functions of tests are not measured.
pub(crate) fn problems(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    let (code, all) = (source.code_lines.len(), source.text.lines().count());
    if code > FILE_CODE_LINES {
        problems.push(source.at(1, format!("{code} code lines, at most {FILE_CODE_LINES}")));
    }
    if all > FILE_LINES {
        problems.push(source.at(1, format!("{all} lines, at most {FILE_LINES}")));
    }
    for function in source.functions() {
        if function.code_lines > FUNCTION_CODE_LINES && !function.in_test {
            let length =
                format!("`{}` has {} code lines, at most {FUNCTION_CODE_LINES}", function.name, function.code_lines);
            problems.push(source.at(function.line, length));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        problems(&Source::parse("src/http1/head.rs", text).expect("sample parses")).len()
    }

    #[test]
    fn a_file_of_six_hundred_code_lines_passes_and_one_more_fails() {
        assert_eq!(count(&"const A: u8 = 1;\n".repeat(600)), 0);
        assert_eq!(count(&"const A: u8 = 1;\n".repeat(601)), 1);
        assert_eq!(count(&"// note\n".repeat(701)), 1, "comments count toward the whole");
    }

    #[test]
    fn a_function_of_seventy_code_lines_passes_and_one_more_fails() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    // why\n    a();\n\n".repeat(lines - 2));
        assert_eq!(count(&function(70)), 0);
        assert_eq!(count(&function(71)), 1);
    }

    #[test]
    fn test_functions_may_be_long() {
        let body = "a();\n".repeat(90);
        assert_eq!(count(&format!("#[cfg(test)]\nmod tests {{\n#[test]\nfn t() {{\n{body}}}\n}}\n")), 0);
        assert_eq!(count(&format!("mod plain {{\nfn t() {{\n{body}}}\n}}\n")), 1);
    }
}
