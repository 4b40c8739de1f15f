//! Identifiers as servers invent them.

use aws_lc_rs::error::Unspecified;

/// A random UUID (RFC 9562, version 4), as Kubernetes gives to objects and AWS to requests.
pub fn uuid() -> Result<String, Unspecified> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)?;
    let version = (u128::from_be_bytes(bytes) & !(0xf << 76)) | (4 << 76);
    let value = (version & !(0b11 << 62)) | (0b10 << 62);
    let hex = format!("{value:032x}");
    let (time_low, rest) = hex.split_at(8);
    let (time_mid, rest) = rest.split_at(4);
    let (time_high, rest) = rest.split_at(4);
    let (clock, node) = rest.split_at(4);
    Ok(format!("{time_low}-{time_mid}-{time_high}-{clock}-{node}"))
}

/// Letters of base32 (RFC 4648 section 6), of which AWS makes its identifiers.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// `prefix` and `length` letters (at most 32) that follow from `seed`: `ASIA…`, `AROA…`, `AIPA…`.
#[must_use]
pub fn aws_identifier(prefix: &str, length: usize, seed: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, seed.as_bytes());
    let letters = digest.as_ref().iter().take(length).map(|byte| usize::from(byte & 31));
    let letters = letters.filter_map(|at| BASE32.get(at)).map(|&letter| char::from(letter));
    prefix.chars().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_version_and_variant() {
        let uuid = uuid().unwrap();
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
    }

    #[test]
    fn identifiers_differ_by_seed_and_not_by_call() {
        assert_eq!(aws_identifier("ASIA", 16, "one"), aws_identifier("ASIA", 16, "one"));
        assert_ne!(aws_identifier("ASIA", 16, "one"), aws_identifier("ASIA", 16, "two"));
        assert_eq!(aws_identifier("AIPA", 17, "x").len(), 21);
    }
}
