//! The clients: which there are, and what each is.

use super::{Client, Runs, Speaks};

/// AWS SDK for Python, today's.
pub static BOTO3: Client = Client {
    id: "boto3",
    name: "boto3",
    speaks: Speaks::Both,
    region: true,
    runs: Runs::Python { modules: None, script: include_str!("boto3.py") },
};

/// AWS SDK for Python of 2018: `IMDSv1`, and strict about every byte.
pub static BOTO2: Client = Client {
    id: "boto2",
    name: "boto 2",
    speaks: Speaks::V1,
    region: true,
    runs: Runs::Python { modules: None, script: include_str!("boto2.py") },
};

/// AWS SDK for JavaScript, the last of version 2.
pub static JAVASCRIPT2: Client = Client {
    id: "javascript2",
    name: "AWS SDK for JavaScript 2",
    speaks: Speaks::Both,
    region: false,
    runs: Runs::Node { sdk: "aws-sdk", script: include_str!("javascript2.js") },
};

/// A shell script with curl and awk, by `IMDSv2`.
pub static CURL: Client = Client {
    id: "curl",
    name: "curl and awk, IMDSv2",
    speaks: Speaks::V2,
    region: true,
    runs: Runs::Shell(include_str!("curl.sh")),
};

/// One of each kind: what most tests run.
pub static FEW: [&Client; 4] = [&BOTO3, &BOTO2, &JAVASCRIPT2, &CURL];

/// A version of botocore from before Boto 3's own.
const fn botocore(id: &'static str, name: &'static str, modules: &'static str) -> Client {
    let script = include_str!("botocore_old.py");
    let runs = Runs::Python { modules: Some(modules), script };
    Client { id, name, speaks: Speaks::V1, region: false, runs }
}

const fn aws_cli(id: &'static str, name: &'static str, path: &'static str) -> Client {
    Client { id, name, speaks: Speaks::Both, region: false, runs: Runs::AwsCli(path) }
}

/// All of them, the oldest of each family first.
pub static ALL: [&Client; 24] = [
    &BOTO2,
    &botocore("botocore-4", "botocore of 2016", "botocore-1.4"),
    &botocore("botocore-8", "botocore of 2018", "botocore-1.8"),
    &botocore("botocore-12", "botocore of 2019", "botocore-1.12"),
    &BOTO3,
    &aws_cli("aws-cli-1", "AWS CLI 1", "python/bin/aws"),
    &aws_cli("aws-cli-2", "AWS CLI 2", "/usr/bin/aws"),
    &Client {
        id: "awscrt",
        name: "AWS Common Runtime (aws-c-auth)",
        speaks: Speaks::Both,
        region: false,
        runs: Runs::Python { modules: None, script: include_str!("awscrt.py") },
    },
    &Client {
        id: "cpp",
        name: "AWS SDK for C++",
        speaks: Speaks::Both,
        region: false,
        runs: Runs::Python { modules: Some("cpp"), script: include_str!("cpp.py") },
    },
    &Client {
        id: "s3cmd",
        name: "s3cmd",
        speaks: Speaks::Both,
        region: false,
        runs: Runs::DebianPython(include_str!("s3cmd.py")),
    },
    &Client {
        id: "javascript2-of-2017",
        name: "AWS SDK for JavaScript 2 of 2017",
        speaks: Speaks::V1,
        region: false,
        runs: Runs::Node { sdk: "aws-sdk-of-2017", script: include_str!("javascript2.js") },
    },
    &JAVASCRIPT2,
    &Client {
        id: "javascript3",
        name: "AWS SDK for JavaScript 3",
        speaks: Speaks::Both,
        region: true,
        runs: Runs::Node { sdk: "", script: include_str!("javascript3.js") },
    },
    &Client {
        id: "rust",
        name: "AWS SDK for Rust",
        speaks: Speaks::V2,
        region: true,
        runs: Runs::Own("podrole-aws-config"),
    },
    &Client {
        id: "go1",
        name: "AWS SDK for Go 1",
        speaks: Speaks::Both,
        region: true,
        runs: Runs::Program { path: "go/aws-v1", package: None },
    },
    &Client {
        id: "go2",
        name: "AWS SDK for Go 2",
        speaks: Speaks::Both,
        region: true,
        runs: Runs::Program { path: "go/aws-v2", package: None },
    },
    &Client {
        id: "minio-go",
        name: "minio-go",
        speaks: Speaks::V2,
        region: false,
        runs: Runs::Program {
            path: "go/minio",
            package: Some("golang-github-minio-minio-go-v7-dev"),
        },
    },
    &Client {
        id: "ruby",
        name: "AWS SDK for Ruby 3",
        speaks: Speaks::Both,
        region: false,
        runs: Runs::Ruby(include_str!("ruby.rb")),
    },
    &Client {
        id: "async-aws",
        name: "AsyncAws for PHP",
        speaks: Speaks::V1,
        region: false,
        runs: Runs::Php { package: "php-async-aws-core", script: include_str!("async_aws.php") },
    },
    &Client {
        id: "java1-of-2017",
        name: "AWS SDK for Java 1 of 2017",
        speaks: Speaks::V1,
        region: true,
        runs: Runs::Java {
            jars: "java/sagemaker_pyspark-1.2.4",
            debian: &[
                "commons-codec",
                "commons-logging",
                "httpclient",
                "httpcore",
                "jackson-annotations",
                "jackson-core",
                "jackson-databind",
                "joda-time",
            ],
        },
    },
    &Client {
        id: "java1",
        name: "AWS SDK for Java 1",
        speaks: Speaks::Both,
        region: true,
        runs: Runs::Java { jars: "java/sagemaker_pyspark-1.4.5", debian: &[] },
    },
    &CURL,
    &Client {
        id: "curl-v1",
        name: "curl and grep, IMDSv1",
        speaks: Speaks::V1,
        region: true,
        runs: Runs::Shell(include_str!("curl_v1.sh")),
    },
    &Client {
        id: "wget-v1",
        name: "BusyBox wget, IMDSv1",
        speaks: Speaks::V1,
        region: true,
        runs: Runs::Shell(include_str!("wget_v1.sh")),
    },
];
