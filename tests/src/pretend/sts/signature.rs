//! AWS Signature Version 4, from the side of the service ("AWS Signature Version 4 for API
//! requests" in the IAM User Guide).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use jiff::{SignedDuration, Timestamp};

use super::answer::Refusal;
use crate::pretend::serve::Received;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How far a client's clock may be off.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// An `Authorization` header, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Who claims to have signed.
    pub access_key_id: String,
    date: String,
    region: String,
    service: String,
    signed_headers: Vec<String>,
    signature: String,
}

impl Authorization {
    /// Reads the header.
    pub fn parse(header: &str) -> Result<Self, Refusal> {
        Self::parts(header).ok_or_else(|| {
            let message = format!(
                "Authorization header requires '{ALGORITHM}' with 'Credential', 'SignedHeaders' \
                 and 'Signature': {header}"
            );
            Refusal::sender("IncompleteSignature", message)
        })
    }

    fn parts(header: &str) -> Option<Self> {
        let fields = header.strip_prefix(ALGORITHM)?.trim();
        let field = |name: &str| {
            let mut values = fields.split(',').filter_map(|field| field.trim().split_once('='));
            values.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let mut scope = field("Credential")?.split('/').map(str::to_owned);
        let authorization = Self {
            access_key_id: scope.next()?,
            date: scope.next()?,
            region: scope.next()?,
            service: scope.next()?,
            signed_headers: field("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: field("Signature")?.to_owned(),
        };
        (scope.next().as_deref() == Some("aws4_request")).then_some(authorization)
    }

    /// Says whether the request was signed with this secret, for `service`, just now.
    pub fn verify(&self, request: &Received, secret: &str, service: &str) -> Result<(), Refusal> {
        let mismatch = |message: &str| Refusal::forbidden("SignatureDoesNotMatch", message);
        if self.service != service {
            let message = format!("Credential should be scoped to correct service: '{service}'.");
            return Err(mismatch(&message));
        }
        if !self.signed_headers.iter().any(|name| name == "host") {
            return Err(mismatch("'host' must be a 'SignedHeader' in the AWS Authorization."));
        }
        let time = request.header("x-amz-date").unwrap_or_default();
        let signed_at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time)
            .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
            .map_err(|_| mismatch("Date must be in ISO-8601 'basic format' in 'X-Amz-Date'."))?
            .timestamp();
        check_clock(signed_at, request.at).map_err(|message| mismatch(&message))?;
        if !time.starts_with(&self.date) {
            return Err(mismatch(
                "Date in Credential scope does not match YYYYMMDD from X-Amz-Date.",
            ));
        }
        if self.sign(request, time, secret) != self.signature {
            return Err(mismatch(
                "The request signature we calculated does not match the signature you provided. \
                 Check your AWS Secret Access Key and signing method. Consult the service \
                 documentation for details.",
            ));
        }
        Ok(())
    }

    /// The signature that this request has with `secret`.
    fn sign(&self, request: &Received, time: &str, secret: &str) -> String {
        let Self { date, region, service, .. } = self;
        let canonical = sha256_hex(self.canonical_request(request).as_bytes());
        let scope = format!("{date}/{region}/{service}/aws4_request");
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{canonical}");
        let key = [date, region, service, "aws4_request"]
            .iter()
            .fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac_sha256(&key, part));
        hex(&hmac_sha256(&key, &to_sign))
    }

    /// The canonical request of a POST without a query to a path of plain letters: clients of STS and EKS
    /// send no other.
    fn canonical_request(&self, request: &Received) -> String {
        let mut headers = String::new();
        for name in &self.signed_headers {
            let values = request.parts.headers.get_all(name).iter();
            let values: Vec<String> = values
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            headers.extend([name, ":", &values.join(","), "\n"]);
        }
        let names = self.signed_headers.join(";");
        let method = request.method();
        let path = request.path();
        let query = request.parts.uri.query().unwrap_or_default();
        let payload = sha256_hex(&request.body);
        format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{payload}")
    }
}

fn check_clock(signed_at: Timestamp, now: Timestamp) -> Result<(), String> {
    let skew = now.duration_since(signed_at);
    if skew > MAX_SKEW {
        return Err(format!("Signature expired: {signed_at} is now earlier than {now} - 5 min."));
    }
    if -skew > MAX_SKEW {
        return Err(format!("Signature not yet current: {signed_at} is still later than {now}."));
    }
    Ok(())
}

fn hmac_sha256(key: &[u8], data: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, data.as_bytes()).as_ref().to_vec()
}

fn sha256_hex(data: &[u8]) -> String {
    hex(digest(&SHA256, data).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
