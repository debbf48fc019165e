//! `watertight explain`: what the codes of problems mean, from the page `host/docs/problems.md`, which is embedded in the binary.
//!
//! Each code has a section of its own. The types of problem details have a row in a table as well.

use watertight_model::problem::nearest;

/// The page that documents all codes.
const PAGE: &str = include_str!("../../docs/problems.md");

/// The start of a heading of a code.
const HEADING: &str = "\n### `";

/// The start of a heading of the type of a problem detail.
const DETAIL_HEADING: &str = "\n#### `";

/// The start of the type of a problem detail.
const TYPE: &str = "`/problems/";

/// What the documentation says of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: String,
    /// What it means, how it comes about and how it is mended: Markdown.
    pub text: String,
}

/// The code is not documented.
#[derive(Debug, thiserror::Error)]
#[error("no problem has the code `{code}`; {suggestion}")]
pub struct UnknownCode {
    /// The code that was asked for.
    code: String,
    /// A similar code, or all codes.
    suggestion: String,
}

/// Finds the explanation of a code, such as `cycle`, or of the type of a problem detail, such as `/problems/deadline` or `deadline`.
///
/// # Errors
///
/// [`UnknownCode`] with the most similar code.
pub fn find(code: &str) -> Result<Explanation, UnknownCode> {
    let code = code.trim().trim_start_matches("error[").trim_end_matches(']').trim_start_matches("/problems/");
    let code = code.to_ascii_lowercase();
    // `unsupported-type` is both a fault and an answer.
    let texts: Vec<String> = section(HEADING, &code).into_iter().chain(detail(&code)).collect();
    if !texts.is_empty() {
        return Ok(Explanation { code, text: texts.join("\n\n") });
    }
    let mut known: Vec<&str> = codes().chain(details().map(|(code, _)| code)).collect();
    known.sort_unstable();
    known.dedup();
    let suggestion = match nearest(&code, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the codes are {}", known.join(", ")),
    };
    Err(UnknownCode { code, suggestion })
}

/// Iterates over the codes that have a section.
fn codes() -> impl Iterator<Item = &'static str> {
    PAGE.split(HEADING).skip(1).filter_map(|section| Some(section.split_once('`')?.0))
}

/// Returns what stands below a heading that begins with `heading` and names the code.
fn section(heading: &str, code: &str) -> Option<String> {
    let section = PAGE.split(heading).skip(1).find(|section| section.split('`').next() == Some(code))?;
    let text = section.split_once('\n')?.1;
    let end = text.find("\n## ").unwrap_or(text.len());
    Some(text[..end].trim().to_owned())
}

/// Iterates over the types of problem details, each with the row of its table. Types in capitals stand for names that an application chooses.
fn details() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| "));
    let of_row =
        |row: &'static str| row.split(TYPE).skip(1).filter_map(move |rest| Some((rest.split('`').next()?, row)));
    rows.flat_map(of_row).filter(|(name, _)| !name.contains(char::is_uppercase))
}

fn detail(code: &str) -> Option<String> {
    let rows = details().filter(|(name, _)| *name == code).map(|(_, row)| {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        let (situation, status) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        format!("An answer of a listener: {situation}.\n\nStatus: {status}.")
    });
    let texts: Vec<String> = rows.chain(section(DETAIL_HEADING, code)).collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use watertight_model::problem::Code;

    use super::*;

    #[test]
    fn every_code_is_explained_with_an_example_and_a_mend() {
        let of_page: Vec<&str> = codes().collect();
        let all: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(of_page, all, "the sections stand in the order of the codes");
        for code in Code::ALL {
            let text = find(code.as_str()).expect("it is documented").text;
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.starts_with(code.meaning()), "{code}: the section begins with the meaning");
            assert!(text.contains("```") && words.contains("**Mend.**"), "{code}: {text}");
            assert!(text.contains(&format!("[{code}]")), "{code}: the example shows the code");
        }
    }

    #[test]
    fn every_answer_says_what_client_and_operator_can_do() {
        let sections: Vec<&str> =
            PAGE.split(DETAIL_HEADING).skip(1).filter_map(|text| text.split('`').next()).collect();
        for (code, _) in details() {
            let text = find(code).expect("it is documented").text;
            let is_told = text.contains("**Client.**") && text.contains("**Operator.**");
            assert!(is_told || Code::ALL.iter().any(|fault| fault.as_str() == code), "{code}: {text}");
            assert!(text.matches("**Client.**").count() <= 1, "{code}: {text}");
        }
        for code in sections {
            assert!(details().any(|(known, _)| known == code), "`{code}` has a section and no row");
        }
    }

    #[test]
    fn codes_are_found_as_they_are_printed() {
        let cycle = find("cycle").expect("it is documented");
        for text in ["error[cycle]", "Cycle", "/problems/cycle"] {
            assert_eq!(find(text).expect("it is documented"), cycle);
        }
        let deadline = find("/problems/deadline").expect("it is documented");
        assert!(deadline.text.contains("504"), "{deadline:?}");
        assert!(find("no-such-path").expect("it is documented").text.contains("404"));
    }

    #[test]
    fn an_unknown_code_suggests_a_similar_one() {
        assert!(find("cylce").expect_err("it is misspelt").to_string().ends_with("did you mean `cycle`?"));
        assert!(find("zzz").expect_err("there is none").to_string().contains("the codes are "));
    }
}
