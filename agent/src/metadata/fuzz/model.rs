//! How a server that is not ours may read a path, written byte by byte and without our code: decoded once,
//! cleaned at its end, resolved on a stack.

/// The names from the root down; `None` for what no path of EC2 has.
pub(super) fn segments(raw: &[u8]) -> Option<Vec<String>> {
    let mut bytes = decode(raw);
    while matches!(bytes.last(), Some(b'\r' | b'\n' | b' ')) {
        bytes.pop();
    }
    if bytes.iter().any(|byte| !byte.is_ascii() || byte.is_ascii_control()) {
        return None;
    }
    let mut stack: Vec<String> = Vec::new();
    let mut name = String::new();
    for byte in bytes.into_iter().chain([b'/']) {
        if byte != b'/' {
            name.push(char::from(byte));
            continue;
        }
        match std::mem::take(&mut name) {
            done if done.is_empty() || done == "." => {}
            done if done == ".." => drop(stack.pop()),
            done => stack.push(done),
        }
    }
    Some(stack)
}

fn decode(raw: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let pair = after.split_at_checked(2).filter(|_| byte == b'%');
        match pair.and_then(|(pair, beyond)| Some((hex(pair)?, beyond))) {
            Some((decoded, beyond)) => {
                bytes.push(decoded);
                rest = beyond;
            }
            None => bytes.push(byte),
        }
    }
    bytes
}

fn hex(pair: &[u8]) -> Option<u8> {
    pair.iter().try_fold(0_u8, |sum, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some(sum * 16 + u8::try_from(value).ok()?)
    })
}
