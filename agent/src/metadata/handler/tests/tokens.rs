//! IMDSv2 tokens: whose they are, and for how long.

use super::*;

#[tokio::test(start_paused = true)]
async fn tokens_count_for_their_pod_and_time_alone() {
    let bench = with_pod();
    bench.tell(Event::Applied(Pod::fixture("two", &["10.0.1.12"]).annotated(ROLE, "web")));
    let token = bench.token("60").await;
    assert_eq!(bench.get_with(LEAF, &token).await, 200);
    for bad in ["garbage", ""] {
        assert_eq!(bench.get_with(LEAF, bad).await, 401, "{bad:?}");
        assert_eq!(bench.get_with("/latest/nothing", bad).await, 401, "{bad:?}");
    }
    let token_header = [(TOKEN, token.as_str())];
    let other = bench.ask_from("10.0.1.12", Method::GET, LEAF, &token_header).await;
    assert_eq!(other.status().as_u16(), 401);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(bench.get_with(LEAF, &token).await, 401);
}

#[tokio::test(start_paused = true)]
async fn a_token_from_before_the_pod_was_known_is_still_its_own() {
    let bench = bench();
    let token = bench.token("600").await;
    bench.tell(Event::Applied(Pod::fixture("one", &[POD]).annotated(ROLE, "web")));
    assert_eq!(bench.get_with(LEAF, &token).await, 200);
}

#[tokio::test(start_paused = true)]
async fn forwarded_requests_get_no_token_and_cannot_use_one() {
    let bench = with_pod();
    let put = [("x-aws-ec2-metadata-token-ttl-seconds", "60"), ("x-forwarded-for", "")];
    let answer = bench.ask(Method::PUT, "/latest/api/token", &put).await;
    assert_eq!(answer.status().as_u16(), 403);
    let token = bench.token("60").await;
    let get = [(TOKEN, token.as_str()), ("x-forwarded-for", "1.2.3.4")];
    assert_eq!(bench.ask(Method::GET, LIST, &get).await.status().as_u16(), 403);
    let v1 = [("x-forwarded-for", "1.2.3.4")];
    assert_eq!(bench.ask(Method::GET, LIST, &v1).await.status().as_u16(), 200);
}

#[tokio::test(start_paused = true)]
async fn two_tokens_that_differ_are_none() {
    let bench = with_pod();
    let token = bench.token("60").await;
    let same = [(TOKEN, token.as_str()); 2];
    assert_eq!(bench.ask(Method::GET, LIST, &same).await.status().as_u16(), 200);
    let differ = [(TOKEN, token.as_str()), (TOKEN, "x")];
    assert_eq!(bench.ask(Method::GET, LIST, &differ).await.status().as_u16(), 401);
}
