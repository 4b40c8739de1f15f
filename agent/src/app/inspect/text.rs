//! Text for terminals and for files: tables that fit, colours where somebody sees them.

use std::fmt;
use std::io::{self, IsTerminal as _};

use comfy_table::{ContentArrangement, Table, TableStyle};

use super::Ready;

/// No line is longer, in columns, unless a word is.
const WIDTH: u16 = 100;

/// Whether there are colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Only on a terminal, and there unless `NO_COLOR` is set (no-color.org).
    pub(crate) fn for_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(io::stdout().is_terminal() && !unwanted)
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(false)
    }

    /// What is as it should be.
    pub(crate) fn good(self, text: impl fmt::Display) -> String {
        self.with("32", text)
    }

    /// What may need somebody.
    pub(crate) fn unsure(self, text: impl fmt::Display) -> String {
        self.with("33", text)
    }

    /// What needs somebody.
    pub(crate) fn bad(self, text: impl fmt::Display) -> String {
        self.with("31", text)
    }

    pub(crate) fn verdict(self, ready: &Ready) -> String {
        if ready.ready { self.good(ready) } else { self.bad(ready) }
    }

    /// ECMA-48, "Select graphic rendition".
    fn with(self, colour: &str, text: impl fmt::Display) -> String {
        if self.0 { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Columns side by side under their names, without lines.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    body(Some(header), rows)
}

fn body<const N: usize>(header: Option<[&str; N]>, rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(WIDTH).add_rows(rows);
    if let Some(header) = header {
        table.set_header(header);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Prose of which each line is wrapped.
pub(crate) fn prose(text: &str) -> String {
    body(None, vec![[text.to_owned()]])
}

/// Names and values in two columns; a name that stands above itself is left out.
pub(crate) fn pairs(pairs: &[(&'static str, String)]) -> String {
    let mut before = "";
    let rows = pairs.iter().map(|(name, value)| {
        let shown = if *name == before { "" } else { name };
        before = name;
        [format!("  {shown}"), value.clone()]
    });
    let rows = rows.collect();
    body(None, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_and_its_cells_wrap() {
        let long = "words ".repeat(30);
        let text =
            table(["POD", "WHY"], vec![["shop/web".into(), long], ["a/b".into(), "c".into()]]);
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        assert!(text.starts_with("POD       WHY\nshop/web  words words"), "{text}");
        assert!(text.ends_with("\na/b       c\n"), "{text}");
    }

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(Paint(false).good("x"), "x");
        assert_eq!(Paint(true).good("x"), "\x1b[32mx\x1b[0m");
    }
}
