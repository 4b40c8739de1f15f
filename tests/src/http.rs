//! HTTP as a pod speaks it, byte by byte: requests as they go out, answers as they came in.

use anyhow::{Context as _, Result, bail, ensure};

/// Where every metadata request goes.
pub const METADATA: &str = "169.254.169.254:80";
/// The path of the role list.
pub const LIST: &str = "/latest/meta-data/iam/security-credentials/";
/// The path of the IMDSv2 token.
pub const TOKEN: &str = "/latest/api/token";
/// The request header with the seconds that a token shall last.
pub const TOKEN_TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";
/// The request header with the token.
pub const TOKEN_HEADER: &str = "X-aws-ec2-metadata-token";

/// A request: HTTP/1.1, for one answer, after which the connection closes.
#[derive(Debug, Clone)]
pub struct Request {
    head: String,
    content: String,
    is_head: bool,
}

impl Request {
    /// `GET path`
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// `PUT path`
    #[must_use]
    pub fn put(path: &str) -> Self {
        Self::new("PUT", path)
    }

    /// Any method.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n");
        Self { head, content: String::new(), is_head: method == "HEAD" }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.extend([name, ": ", value, "\r\n"]);
        self
    }

    /// With a body.
    #[must_use]
    pub fn content(mut self, content: &str) -> Self {
        content.clone_into(&mut self.content);
        self.header("Content-Length", &content.len().to_string())
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        format!("{}\r\n{}", self.head, self.content).into_bytes()
    }

    /// Reads the one answer to it.
    ///
    /// # Errors
    /// Where there is none, or more than one, or one that is not HTTP.
    pub fn answer(&self, bytes: &[u8]) -> Result<Answer> {
        let (answer, rest) = Answer::read(bytes, !self.is_head)?;
        ensure!(rest.is_empty(), "{} bytes follow the answer {answer:?}", rest.len());
        Ok(answer)
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Name and value of each header, as they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// Reads one answer, and gives what follows it. A `Content-Length` is required, as the real
    /// service always sends one.
    pub fn read(bytes: &[u8], has_body: bool) -> Result<(Self, &[u8])> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(bytes).context("an answer that is not HTTP")?;
        let httparse::Status::Complete(start) = parsed else {
            bail!("only part of an answer: {:?}", String::from_utf8_lossy(bytes));
        };
        let headers = head
            .headers
            .iter()
            .map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned()))
            .collect();
        let status = head.code.context("an answer without a status")?;
        let mut answer = Self { status, headers, body: String::new() };
        let length = if has_body { answer.content_length()? } else { 0 };
        let body = bytes.get(start..start + length).context("a body shorter than announced")?;
        answer.body = String::from_utf8(body.to_vec())?;
        let rest = bytes.get(start + length..).unwrap_or_default();
        Ok((answer, rest))
    }

    /// Reads all answers on a connection, each with a body.
    pub fn read_all(mut bytes: &[u8]) -> Result<Vec<Self>> {
        let mut answers = Vec::new();
        while !bytes.is_empty() {
            let (answer, rest) = Self::read(bytes, true)?;
            answers.push(answer);
            bytes = rest;
        }
        Ok(answers)
    }

    /// A header's value, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value.as_str())
    }

    fn content_length(&self) -> Result<usize> {
        let length = self.header("Content-Length").context("an answer without Content-Length")?;
        Ok(length.parse()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_a_row_are_told_apart() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.0 404 Not Found\r\n\
            content-length: 0\r\n\r\n";
        let answers = Answer::read_all(bytes).unwrap();
        assert_eq!(answers[0].body, "ab");
        assert_eq!(answers[1].status, 404);
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab";
        assert!(Request::get("/").answer(bytes).is_err());
        assert!(Request::get("/").answer(b"HTTP/1.1 200").is_err());
    }
}
