//! A client of the tests: what the default chains of the AWS SDK for Rust find.

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::default_provider::region::DefaultRegionChain;
use aws_credential_types::provider::ProvideCredentials as _;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

/// It names the version of every package.
const LOCK: &str = include_str!("../../../Cargo.lock");

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let start = Instant::now();
    let chain = DefaultCredentialsChain::builder().build().await;
    let found = match chain.provide_credentials().await {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            println!("null");
            return Ok(());
        }
    };
    let took = start.elapsed();
    let region = match std::env::var_os("ASK_REGION") {
        Some(_) => DefaultRegionChain::builder().build().region().await,
        None => None,
    };
    let expiration = found.expiry().map(Timestamp::try_from).transpose()?;
    println!(
        "{}",
        json!({
            "version": version(),
            "access_key_id": found.access_key_id(),
            "secret_access_key": found.secret_access_key(),
            "token": found.session_token(),
            "expiration": expiration.map(|at| at.to_string()),
            "region": region.map(|region| region.to_string()),
            "took_ms": took.as_millis(),
        })
    );
    Ok(())
}

fn version() -> Option<&'static str> {
    let (_, package) = LOCK.split_once("\nname = \"aws-config\"\nversion = \"")?;
    Some(package.split_once('"')?.0)
}
