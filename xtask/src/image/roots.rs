//! The certificate authorities that the image trusts: Mozilla's, by a crate, so that their list is of one
//! version with the rest of what is built.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// Where the agent's TLS looks (`openssl-probe` looks there first for Debian and its kin).
pub(crate) const PATH: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Characters in a line (RFC 7468, section 2).
const LINE: usize = 64;

/// All of them, as PEM (RFC 7468).
pub(crate) fn pem() -> String {
    let mut pem = String::new();
    for certificate in TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = BASE64_STANDARD.encode(certificate);
        for line in text.as_bytes().chunks(LINE) {
            // Writing to a String cannot fail.
            let _ = writeln!(pem, "{}", String::from_utf8_lossy(line));
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_there_in_lines_that_every_reader_takes() {
        let pem = pem();
        let begun = pem.lines().filter(|line| *line == "-----BEGIN CERTIFICATE-----").count();
        assert_eq!(begun, TLS_SERVER_ROOT_CERTS.len());
        assert!(begun > 100, "{begun}");
        assert!(pem.lines().all(|line| line.len() <= LINE));
    }
}
