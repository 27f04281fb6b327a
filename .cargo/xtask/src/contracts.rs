//! Which items of the vendors' contracts have a test.
//!
//! A test bears an id in its name, such as `dr_050_054_a9_calls_are_filtered` for DR-050, DR-054 and DR-A9, or in a
//! comment of its file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::Result;

const LIST: &str = "adapters/server/contracts.txt";
const PREFIXES: [&str; 4] = ["dr", "vs", "fl", "df"];

/// Where tests are.
const ROOTS: [&str; 2] = ["core", "adapters"];

/// What was found.
#[derive(Debug, Default)]
struct Report {
    missing: Vec<String>,
    pending: Vec<(String, String)>,
    tested: usize,
}

pub(crate) fn run(json: bool) -> Result {
    let list = read(Path::new(LIST))?;
    let mut born = BTreeSet::new();
    for root in ROOTS {
        for path in sources(Path::new(root))? {
            let text = read(&path)?;
            let is_test = path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
            let tests =
                if is_test { Some(text.as_str()) } else { text.split_once("#[cfg(test)]").map(|(_, tests)| tests) };
            born.extend(tests.map(ids).unwrap_or_default());
        }
    }
    let report = compare(&list, &born);
    println!("{}", if json { report.json() } else { report.text() });
    Ok(())
}

fn compare(list: &str, born: &BTreeSet<String>) -> Report {
    let mut report = Report::default();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(' ') {
            _ if born.contains(line.split(' ').next().unwrap_or(line)) => report.tested += 1,
            Some((id, reason)) => report.pending.push((id.to_owned(), reason.to_owned())),
            None => report.missing.push(line.to_owned()),
        }
    }
    report
}

/// The ids in names of functions and in comments.
fn ids(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if let Some((_, name)) = line.split_once("fn ") {
            in_name(name, &mut found);
        }
        if let Some((_, comment)) = line.split_once("//") {
            in_comment(comment, &mut found);
        }
    }
    found
}

fn in_name(name: &str, found: &mut Vec<String>) {
    let mut prefix = None;
    for word in name.split(['_', '(']) {
        if PREFIXES.contains(&word) {
            prefix = Some(word.to_uppercase());
            continue;
        }
        let Some(prefix) = &prefix else { return };
        let number = word.strip_prefix('a').unwrap_or(word);
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return;
        }
        found.push(format!("{prefix}-{}", word.to_uppercase()));
    }
}

fn in_comment(comment: &str, found: &mut Vec<String>) {
    for word in comment.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-') {
        let Some((prefix, number)) = word.split_once('-') else { continue };
        let digits = number.strip_prefix('A').unwrap_or(number);
        let is_id = PREFIXES.contains(&prefix.to_lowercase().as_str())
            && !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_id {
            found.push(word.to_owned());
        }
    }
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

impl Report {
    fn json(&self) -> String {
        let missing: Vec<_> = self.missing.iter().map(|id| format!("\"{id}\"")).collect();
        let pending = self.pending.iter().map(|(id, reason)| format!("{{\"id\":\"{id}\",\"reason\":\"{reason}\"}}"));
        let pending: Vec<_> = pending.collect();
        format!(
            "{{\"tested\":{},\"missing\":[{}],\"pending\":[{}]}}",
            self.tested,
            missing.join(","),
            pending.join(",")
        )
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("{} items have a test", self.tested)];
        if !self.missing.is_empty() {
            lines.push(format!("{} have none: {}", self.missing.len(), self.missing.join(" ")));
        }
        lines.extend(self.pending.iter().map(|(id, reason)| format!("{id} waits: {reason}")));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_in_names_and_comments() {
        let text = "async fn dr_050_054_a9_calls_are_filtered() {\n// FL-018 and VS-A7, not DR-1x\nfn other_dr_070() {}\n\
                    fn vs_001_fl_002_both() {}\nlet path = \"DR-099\";";
        assert_eq!(ids(text), ["DR-050", "DR-054", "DR-A9", "FL-018", "VS-A7", "VS-001", "FL-002"]);
    }

    #[test]
    fn what_has_no_test_is_missing_or_waits() {
        let born = BTreeSet::from(["DR-001".to_owned(), "DR-004".to_owned()]);
        let report = compare("# x\nDR-001\nDR-002\nDR-003 needs a carrier\nDR-004 was waiting\n", &born);
        assert_eq!(
            report.json(),
            "{\"tested\":2,\"missing\":[\"DR-002\"],\"pending\":[{\"id\":\"DR-003\",\"reason\":\"needs a carrier\"}]}"
        );
    }
}
