//! What the changelog says of a version (Keep a Changelog).

use anyhow::{Context as _, Result, ensure};

/// The section of a version, which must have a date and say something, with nothing left unreleased.
pub(super) fn checked_section(changelog: &str, version: &str) -> Result<String> {
    let unreleased = section(changelog, "Unreleased").unwrap_or_default();
    ensure!(
        unreleased.trim().is_empty(),
        "CHANGELOG.md has changes under \"Unreleased\": move them to \"## {version} - YYYY-MM-DD\""
    );
    let (headline, _) = headlines(changelog)
        .find(|(headline, _)| named(headline) == version)
        .with_context(|| format!("CHANGELOG.md has no section \"## {version} - YYYY-MM-DD\""))?;
    let date = headline.split(" - ").nth(1).unwrap_or_default();
    date.parse::<jiff::civil::Date>()
        .with_context(|| format!("CHANGELOG.md: no date in \"## {headline}\""))?;
    let said = section(changelog, version).unwrap_or_default();
    ensure!(!said.trim().is_empty(), "CHANGELOG.md says nothing of {version}");
    Ok(said)
}

/// What stands below the headline of a section.
pub(super) fn section(changelog: &str, name: &str) -> Option<String> {
    let (_, from) = headlines(changelog).find(|(headline, _)| named(headline) == name)?;
    let lines = changelog.get(from..)?.split_inclusive('\n');
    let text: String = lines.take_while(|line| !line.starts_with("## ")).collect();
    Some(text.trim_start_matches('\n').to_owned())
}

/// Each headline of a section, with where the text after it begins.
fn headlines(changelog: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut at = 0;
    changelog.split_inclusive('\n').filter_map(move |line| {
        at += line.len();
        Some((line.strip_prefix("## ")?.trim(), at))
    })
}

/// "1.2.3" of "[1.2.3] - 2026-01-31".
fn named(headline: &str) -> &str {
    let name = headline.split(" - ").next().unwrap_or_default();
    name.trim_matches(['[', ']'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## Unreleased\n\n## 1.1.0 - 2026-01-31\n\n### Added\n\n- This.\n\
                             \n## [1.0.0] - soon\n\n- That.\n";

    #[test]
    fn a_version_with_a_date_may_be_released() {
        assert_eq!(checked_section(CHANGELOG, "1.1.0").unwrap(), "### Added\n\n- This.\n\n");
        assert_eq!(section(CHANGELOG, "1.0.0").unwrap(), "- That.\n");
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused = |changelog: &str, version| {
            format!("{:#}", checked_section(changelog, version).unwrap_err())
        };
        assert!(refused(CHANGELOG, "1.2.0").contains("## 1.2.0 - YYYY-MM-DD"));
        assert!(refused(CHANGELOG, "1.0.0").contains("no date"));
        let left = CHANGELOG.replace("Unreleased\n", "Unreleased\n\n- More.\n");
        assert!(refused(&left, "1.1.0").contains("Unreleased"));
        assert!(
            refused("## Unreleased\n## 1.1.0 - 2026-01-31\n", "1.1.0").contains("says nothing")
        );
    }
}
