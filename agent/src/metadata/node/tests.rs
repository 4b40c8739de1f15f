//! Listings that show what may be read, and what a node off EC2 has to say.

use std::time::Duration;

use super::*;

fn path(text: &str) -> NodePath {
    NodePath::new(&text.split('/').collect::<Vec<_>>()).unwrap()
}

fn allowed(words: &[&str]) -> Arc<AllowList> {
    Arc::new(AllowList::parse(words.iter().copied()).unwrap())
}

fn off_ec2(words: &[&str], labels: Option<Location>) -> NodeMetadata {
    let (_, location) = channel::channel(labels);
    NodeMetadata { paths: allowed(words), source: NodeSource::Labels(location) }
}

async fn read(node: &NodeMetadata, reach: Reach, text: &str) -> Result<String, Unavailable> {
    let deadline = Instant::now() + Duration::from_millis(900);
    let found = node.read(&PodUid::new("a"), reach, "latest", &path(text), deadline).await?;
    Ok(match found {
        Found::Document(document) => String::from_utf8(document.body.to_vec()).unwrap(),
        Found::Nothing => "404".into(),
    })
}

fn here() -> Location {
    Location { region: Some("eu-central-1".into()), zone: Some("eu-central-1b".into()) }
}

#[tokio::test(start_paused = true)]
async fn off_ec2_there_are_region_and_zone_alone() {
    let node = off_ec2(&["default"], Some(here()));
    for (text, body) in [
        ("meta-data", "placement/"),
        ("meta-data/placement", "availability-zone\nregion"),
        ("meta-data/placement/region", "eu-central-1"),
        ("meta-data/placement/availability-zone", "eu-central-1b"),
        ("meta-data/placement/group-name", "404"),
        ("meta-data/instance-id", "404"),
        ("dynamic/instance-identity/document", "404"),
        ("user-data", "404"),
    ] {
        assert_eq!(read(&node, Reach::Listed, text).await, Ok(body.into()), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_label_that_is_missing_is_a_path_that_is() {
    let zone = Location { region: None, zone: Some("rack-4".into()) };
    let node = off_ec2(&["default"], Some(zone));
    assert_eq!(
        read(&node, Reach::Listed, "meta-data/placement").await,
        Ok("availability-zone".into())
    );
    assert_eq!(read(&node, Reach::Listed, "meta-data/placement/region").await, Ok("404".into()));
    let node = off_ec2(&["default"], Some(Location::default()));
    assert_eq!(read(&node, Reach::Listed, "meta-data/placement").await, Ok("404".into()));
    assert_eq!(read(&node, Reach::Listed, "meta-data").await, Ok("404".into()));
}

#[tokio::test(start_paused = true)]
async fn the_list_holds_off_ec2_too() {
    let node = off_ec2(&["placement/region"], Some(here()));
    assert_eq!(read(&node, Reach::Listed, "meta-data/placement").await, Ok("region".into()));
    assert_eq!(
        read(&node, Reach::Listed, "meta-data/placement/availability-zone").await,
        Ok("404".into())
    );
    assert_eq!(read(&node, Reach::Nothing, "meta-data/placement/region").await, Ok("404".into()));
}

#[tokio::test(start_paused = true)]
async fn labels_that_nobody_has_read_yet_are_not_absent() {
    let (writer, location) = channel::channel(None);
    let node = NodeMetadata { paths: allowed(&["default"]), source: NodeSource::Labels(location) };
    let asked = Instant::now();
    let region = read(&node, Reach::Listed, "meta-data/placement/region").await;
    assert_eq!(region, Err(Unavailable::NotYet));
    assert_eq!(asked.elapsed(), Duration::from_millis(900));
    writer.send_replace(Some(here()));
    let region = read(&node, Reach::Listed, "meta-data/placement/region").await;
    assert_eq!(region, Ok("eu-central-1".into()));
}
