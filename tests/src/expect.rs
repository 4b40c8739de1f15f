//! Tables of requests and of what must come back, for the protocol tests.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::http::{Answer, Request};
use crate::place::Place;

/// What an answer must be; what is not named may be anything.
#[derive(Debug, Clone)]
pub struct Expected {
    status: u16,
    body: Option<String>,
    headers: Vec<(&'static str, &'static str)>,
}

/// This status.
#[must_use]
pub fn status(status: u16) -> Expected {
    Expected { status, body: None, headers: Vec::new() }
}

/// A success with this body.
#[must_use]
pub fn body(body: &str) -> Expected {
    Expected { body: Some(body.to_owned()), ..status(200).header("Content-Type", "text/plain") }
}

/// An error with the page that the real service shows.
#[must_use]
pub fn page(code: u16, reason: &str) -> Expected {
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
         <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n\
         \t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
         <head>\n  <title>{code} - {reason}</title>\n </head>\n \
         <body>\n  <h1>{code} - {reason}</h1>\n </body>\n</html>\n"
    );
    Expected { body: Some(page), ..status(code).header("Content-Type", "text/html") }
}

impl Expected {
    /// With this header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn difference(&self, answer: &Answer) -> Option<String> {
        let mut difference = String::new();
        if answer.status != self.status {
            let _ = write!(difference, "status {}, not {}; ", answer.status, self.status);
        }
        if self.body.as_ref().is_some_and(|body| *body != answer.body) {
            let _ = write!(difference, "body {:?}, not {:?}; ", answer.body, self.body);
        }
        let always = [("Server", "EC2ws")];
        for (name, value) in self.headers.iter().chain(&always) {
            if answer.header(name) != Some(value) {
                let _ = write!(difference, "{name}: {:?}, not {value}; ", answer.header(name));
            }
        }
        (!difference.is_empty()).then_some(difference)
    }
}

/// Asks each question and reports all wrong answers together.
pub fn check(place: &Place, cases: Vec<(&str, Request, Expected)>) -> Result<()> {
    let mut wrong = String::new();
    for (name, request, expected) in cases {
        let answer = place.ask(&request)?;
        if let Some(difference) = expected.difference(&answer) {
            let _ = writeln!(wrong, "{name}: {difference}");
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}
