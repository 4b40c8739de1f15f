//! Container credentials, as SDKs ask for them.

use super::*;

const CONTAINER: &str = "/v1/credentials";

#[tokio::test(start_paused = true)]
async fn container_credentials_are_those_of_the_pods_role() {
    let bench = with_pod();
    for host in ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"] {
        let headers = [("host", host), ("authorization", "anything")];
        let answer = bench.ask(Method::GET, CONTAINER, &headers).await;
        assert_eq!(answer.status(), StatusCode::OK, "{host}");
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert!(!answer.headers().contains_key("server"));
        let (_, body) = read(answer).await;
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        let expected = ["AccessKeyId", "AccountId", "Expiration", "SecretAccessKey", "Token"];
        assert_eq!(keys, expected);
        assert_eq!(json["AccountId"], "123456789012");
    }
    assert_eq!(bench.calls.load(Ordering::Relaxed), 1, "one session for all");
}

#[tokio::test(start_paused = true)]
async fn container_credentials_are_for_that_host_and_path_alone() {
    let bench = with_pod();
    for (host, path, status) in [
        ("169.254.170.23", "/", 404),
        ("169.254.170.23", "/v1/credentials/", 404),
        ("169.254.170.23", "/latest/meta-data/iam/security-credentials/web", 404),
        ("169.254.169.254", CONTAINER, 404),
        ("10.0.0.10:16925", CONTAINER, 403),
        ("evil.example", CONTAINER, 403),
    ] {
        let answer = bench.ask(Method::GET, path, &[("host", host)]).await;
        assert_eq!(answer.status().as_u16(), status, "{host}{path}");
    }
    let eks = ("host", "169.254.170.23");
    let put = bench.ask(Method::PUT, CONTAINER, &[eks]).await;
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
    let passed_on = bench.ask(Method::GET, CONTAINER, &[eks, ("x-forwarded-for", "1.2.3.4")]).await;
    assert_eq!(passed_on.status(), StatusCode::FORBIDDEN);
    let unmapped = bench_without_role();
    let none = unmapped.ask(Method::GET, CONTAINER, &[eks]).await;
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
}

fn bench_without_role() -> Bench {
    let bench = bench();
    bench.tell(Event::Applied(Pod::fixture("one", &[POD])));
    bench
}

#[tokio::test(start_paused = true)]
async fn where_tokens_are_demanded_container_credentials_demand_an_authorization() {
    let mut bench = with_pod();
    bench.handler.imds_v1 = ImdsV1::Deny;
    let eks = ("host", "169.254.170.23");
    let without = bench.ask(Method::GET, CONTAINER, &[eks]).await;
    assert_eq!(without.status(), StatusCode::UNAUTHORIZED);
    let with = bench.ask(Method::GET, CONTAINER, &[eks, ("authorization", "any")]).await;
    assert_eq!(with.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn container_credentials_are_off_unless_asked_for() {
    let mut bench = with_pod();
    bench.handler.container_credentials = false;
    let answer = bench.ask(Method::GET, CONTAINER, &[("host", "169.254.170.23")]).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}
