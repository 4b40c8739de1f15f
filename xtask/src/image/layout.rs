//! The image as the OCI Image Layout Specification has it: blobs named by their digests, and an index.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_REF_NAME,
    ANNOTATION_REVISION, ANNOTATION_SOURCE, ANNOTATION_TITLE, ANNOTATION_VERSION, Arch,
    ConfigBuilder, Descriptor, DescriptorBuilder, HistoryBuilder, ImageConfigurationBuilder,
    ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, PlatformBuilder,
    RootFsBuilder, SCHEMA_VERSION, Sha256Digest,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::layer::{Files, Layer};

/// Says of an index which platforms are not in it, and why.
const MISSING: &str = "dev.podrole.image.missing";

/// What is the same for all platforms.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) version: String,
    /// The commit.
    pub(super) revision: String,
    pub(super) source: String,
    pub(super) licenses: String,
    pub(super) description: String,
    /// Seconds since 1970.
    pub(super) at: u64,
    /// The same (RFC 3339).
    pub(super) created: String,
}

impl About {
    fn annotations(&self) -> HashMap<String, String> {
        let pairs = [
            (ANNOTATION_TITLE, "podrole"),
            (ANNOTATION_DESCRIPTION, &self.description),
            (ANNOTATION_VERSION, &self.version),
            (ANNOTATION_REVISION, &self.revision),
            (ANNOTATION_SOURCE, &self.source),
            (ANNOTATION_LICENSES, &self.licenses),
            (ANNOTATION_CREATED, &self.created),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

/// A layout in memory: its files by relative path.
#[derive(Default)]
pub(super) struct Layout {
    files: BTreeMap<String, Vec<u8>>,
}

impl Layout {
    /// The images of those platforms, and why others are missing.
    pub(super) fn of(
        about: &About,
        platforms: &[(&Arch, &Files)],
        missing: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut layout = Self::default();
        let mut manifests = Vec::new();
        for (arch, files) in platforms {
            manifests.push(layout.image(about, arch, files)?);
        }
        let mut annotations = about.annotations();
        if !missing.is_empty() {
            let reasons: Vec<_> =
                missing.iter().map(|(one, why)| format!("{one}: {why}")).collect();
            annotations.insert(MISSING.to_owned(), reasons.join("; "));
        }
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(manifests)
            .annotations(annotations)
            .build()?;
        let mut index = layout.json(MediaType::ImageIndex, &index)?;
        let name = (ANNOTATION_REF_NAME.to_owned(), about.version.clone());
        index.set_annotations(Some(HashMap::from([name])));
        let top = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests([index])
            .build()?;
        layout.files.insert("index.json".to_owned(), sorted_json(&top)?);
        let version = OciLayoutBuilder::default().image_layout_version("1.0.0").build()?;
        layout.files.insert("oci-layout".to_owned(), sorted_json(&version)?);
        Ok(layout)
    }

    fn image(&mut self, about: &About, arch: &Arch, files: &Files) -> Result<Descriptor> {
        let layer = Layer::of(files, about.at)?;
        let history = HistoryBuilder::default()
            .created(about.created.clone())
            .created_by("cargo xtask image")
            .build()?;
        let config = ConfigBuilder::default()
            .user("0:0")
            .env(["PATH=/usr/bin".to_owned()])
            .entrypoint(["/usr/bin/podrole".to_owned()])
            .cmd(["agent".to_owned()])
            .labels(about.annotations())
            .build()?;
        let rootfs = RootFsBuilder::default().diff_ids([digest(&layer.tar)]).build()?;
        let configuration = ImageConfigurationBuilder::default()
            .created(about.created.clone())
            .architecture(arch.clone())
            .os(Os::Linux)
            .config(config)
            .rootfs(rootfs)
            .history([history])
            .build()?;
        let configuration = self.json(MediaType::ImageConfig, &configuration)?;
        let layer = self.blob(MediaType::ImageLayerGzip, layer.compressed)?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(configuration)
            .layers([layer])
            .annotations(about.annotations())
            .build()?;
        let platform =
            PlatformBuilder::default().architecture(arch.clone()).os(Os::Linux).build()?;
        let mut manifest = self.json(MediaType::ImageManifest, &manifest)?;
        manifest.set_platform(Some(platform));
        Ok(manifest)
    }

    fn json(&mut self, kind: MediaType, value: &impl Serialize) -> Result<Descriptor> {
        let json = sorted_json(value)?;
        self.blob(kind, json)
    }

    fn blob(&mut self, kind: MediaType, content: Vec<u8>) -> Result<Descriptor> {
        let hex = hex(&content);
        let size = u64::try_from(content.len())?;
        self.files.insert(format!("blobs/sha256/{hex}"), content);
        let digest: Sha256Digest = hex.parse()?;
        Ok(DescriptorBuilder::default().media_type(kind).size(size).digest(digest).build()?)
    }

    /// Writes it as a directory.
    pub(super) fn write_directory(&self, place: &Path) -> Result<()> {
        if place.exists() {
            fs::remove_dir_all(place).context("cannot remove the old layout")?;
        }
        fs::create_dir_all(place.join("blobs/sha256")).context("cannot make the layout")?;
        for (path, content) in &self.files {
            fs::write(place.join(path), content).with_context(|| format!("cannot write {path}"))?;
        }
        Ok(())
    }

    /// The same as one file, which `skopeo`, `podman load` and `ctr images import` take.
    pub(super) fn tar(&self, at: u64) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, content) in &self.files {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_mtime(at);
            header.set_size(u64::try_from(content.len())?);
            tar.append_data(&mut header, path, content.as_slice())?;
        }
        Ok(tar.into_inner()?)
    }
}

/// `oci-spec` keeps annotations in no order; sorted, the same image has the same bits.
fn sorted_json(value: &impl Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&serde_json::to_value(value)?)?)
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(content))
}

/// SHA-256 in lower-case hexadecimal digits.
pub(crate) fn hex(content: &[u8]) -> String {
    let digits = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
    let bytes = Sha256::digest(content);
    bytes.iter().flat_map(|byte| [digits(byte >> 4), digits(byte & 0xf)]).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};

    use super::super::layer::File;
    use super::*;

    fn about() -> About {
        About {
            version: "1.2.3".into(),
            revision: "0123abcd".into(),
            source: "https://example.com/podrole".into(),
            licenses: "MIT".into(),
            description: "tested".into(),
            at: 1_700_000_000,
            created: "2023-11-14T22:13:20Z".into(),
        }
    }

    fn layout() -> Layout {
        let file = File { content: b"not really a program".to_vec(), mode: 0o755 };
        let files = Files::from([("/usr/bin/podrole".into(), file)]);
        let missing = BTreeMap::from([("linux/arm64".into(), "no compiler".into())]);
        Layout::of(&about(), &[(&Arch::Amd64, &files)], &missing).unwrap()
    }

    impl Layout {
        /// Reads what a descriptor names, and checks what it says of it.
        fn read(&self, descriptor: &Descriptor) -> &[u8] {
            let content = &self.files[&format!("blobs/sha256/{}", descriptor.digest().digest())];
            assert_eq!(hex(content), descriptor.digest().digest());
            assert_eq!(content.len() as u64, descriptor.size());
            content
        }
    }

    #[test]
    fn every_digest_names_what_it_is_of_from_the_index_down_to_the_file() {
        let layout = layout();
        let top = ImageIndex::from_reader(layout.files["index.json"].as_slice()).unwrap();
        let [index] = top.manifests().as_slice() else { panic!("{top:?}") };
        assert_eq!(index.annotations().as_ref().unwrap()[ANNOTATION_REF_NAME], "1.2.3");
        let index = ImageIndex::from_reader(layout.read(index)).unwrap();
        assert_eq!(index.annotations().as_ref().unwrap()[MISSING], "linux/arm64: no compiler");
        let [image] = index.manifests().as_slice() else { panic!("{index:?}") };
        assert_eq!(image.platform().as_ref().unwrap().architecture(), &Arch::Amd64);
        let manifest = ImageManifest::from_reader(layout.read(image)).unwrap();
        let configuration =
            ImageConfiguration::from_reader(layout.read(manifest.config())).unwrap();
        let mut tar = Vec::new();
        GzDecoder::new(layout.read(&manifest.layers()[0])).read_to_end(&mut tar).unwrap();
        assert_eq!(configuration.rootfs().diff_ids(), &[digest(&tar)]);
        assert_eq!(configuration.version(), Some("1.2.3"));
        assert!(String::from_utf8_lossy(&tar).contains("not really a program"));
    }

    #[test]
    fn the_same_image_has_the_same_bits() {
        let (one, other) = (layout(), layout());
        assert_eq!(one.files, other.files);
        assert_eq!(one.tar(1).unwrap(), other.tar(1).unwrap());
    }
}
