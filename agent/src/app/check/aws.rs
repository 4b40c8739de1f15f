//! What the agent needs of AWS: the metadata service, an identity, STS.

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::Finding;
use crate::clock::Clock;
use crate::credentials::aws::Aws;
use crate::credentials::sts::Sts;
use crate::report::Chain;

/// Asks the real metadata service for a token, as every SDK does first.
pub(super) async fn metadata(addresses: &[String]) -> Vec<Finding> {
    const CHECK: &str = "metadata service";
    const MEND: &str = "off EC2 there is none, which is fine where the agent's AWS identity comes from elsewhere (--metadata-endpoint=none); on EC2 see the instance's metadata options and the node's firewall";
    // The first is the one that the SDKs ask.
    let Some(address) = addresses.first() else { return Vec::new() };
    vec![match token(address).await {
        Ok(status) if status.contains(" 200") => {
            Finding::good(CHECK, format!("answers at {address}"))
        }
        Ok(status) => Finding::unsure(CHECK, format!("answers {status:?} at {address}"), MEND),
        Err(error) => {
            Finding::unsure(CHECK, format!("does not answer at {address}: {error}"), MEND)
        }
    }]
}

/// The first line of the answer.
async fn token(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(format!("{address}:80")).await?;
    let request = format!(
        "PUT /latest/api/token HTTP/1.1\r\nHost: {address}\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

/// Whom STS takes the agent for, and whether sessions can be tagged from there.
pub(super) async fn identity() -> Vec<Finding> {
    const CHECK: &str = "AWS identity";
    let aws = match Aws::from_environment().await {
        Ok(aws) => aws,
        Err(error) => return vec![Finding::of_error(CHECK, &error)],
    };
    let region = aws.region().to_owned();
    let identity = match Sts::new(aws, Clock::system()).identity().await {
        Ok(identity) => identity,
        Err(error) => {
            let mend = "is STS reachable from here (VPC endpoint, proxy), and has the node a role or another identity?";
            return vec![Finding::bad(CHECK, Chain(&error).to_string(), mend)];
        }
    };
    let known = Finding::good(CHECK, format!("{} in {region}", identity.arn));
    let full_uri = std::env::var(CONTAINER_CREDENTIALS).unwrap_or_default();
    if is_of_pod_identity(&identity.arn, &full_uri) {
        return vec![known, tagged_already()];
    }
    vec![known]
}

/// What the EKS webhook sets on pods with an association.
const CONTAINER_CREDENTIALS: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// Sessions of EKS Pod Identity are called `eks-CLUSTER-POD-UUID`, and come from its agent's address.
fn is_of_pod_identity(arn: &str, full_uri: &str) -> bool {
    let from_agent = ["169.254.170.23", "[fd00:ec2::23]"].iter().any(|at| full_uri.contains(at));
    let named = arn.split_once(":assumed-role/").and_then(|(_, name)| name.split_once('/'));
    from_agent && named.is_some_and(|(_, session)| session.starts_with("eks-"))
}

/// STS refuses a tag whose key the caller's session passes on already (IAM User Guide, "Chaining roles
/// with session tags").
fn tagged_already() -> Finding {
    Finding::bad(
        "session tags",
        "podrole's own identity is an EKS Pod Identity session, which passes on the very tags that pods' sessions are to have: STS refuses them",
        "give podrole the node's role or keys instead; or set disableSessionTags on its own association; or send no tags (--session-tags=none)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_of_pod_identity_is_told_by_its_session_and_its_source() {
        let pod = "arn:aws:sts::111122223333:assumed-role/podrole/eks-prod-podrole-4x2-0f3c";
        let node = "arn:aws:sts::111122223333:assumed-role/nodes/i-0123456789abcdef0";
        let agent = "http://169.254.170.23/v1/credentials";
        assert!(is_of_pod_identity(pod, agent));
        assert!(is_of_pod_identity(pod, "http://[fd00:ec2::23]/v1/credentials"));
        assert!(!is_of_pod_identity(node, agent));
        assert!(!is_of_pod_identity(pod, "http://169.254.170.2/v2"));
        assert!(!is_of_pod_identity("arn:aws:iam::111122223333:user/eks-x", agent));
    }
}
