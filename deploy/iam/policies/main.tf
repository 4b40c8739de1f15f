# The policies as JSON, without any provider: plain values in, documents out.

locals {
  tag_keys = concat([
    "eks-cluster-arn",
    "eks-cluster-name",
    "kubernetes-namespace",
    "kubernetes-pod-name",
    "kubernetes-pod-uid",
    "kubernetes-service-account",
  ], var.extra_tag_keys)

  cluster_arn = "arn:${var.partition}:eks:${var.region}:${var.account_id}:cluster/${var.cluster_name}"
  pod_roles   = "arn:${var.partition}:iam::${var.account_id}:role${var.pod_role_path}*"
  issuer      = try(split("oidc-provider/", var.oidc_provider_arn)[1], "")

  # What podrole itself may do. For web-identity it needs nothing: the pod's own token is the proof.
  agent_statements = concat(
    [for statement in [
      {
        Sid      = "AssumeRolesOfPods"
        Effect   = "Allow"
        Action   = "sts:AssumeRole"
        Resource = var.role_arns
      },
      {
        Sid      = "TagTheirSessions"
        Effect   = "Allow"
        Action   = "sts:TagSession"
        Resource = var.role_arns
        Condition = {
          StringEquals                = { "aws:RequestTag/eks-cluster-name" = var.cluster_name }
          "ForAllValues:StringEquals" = { "aws:TagKeys" = local.tag_keys }
        }
      },
    ] : statement if contains(var.sources, "sts")],
    [for statement in [
      {
        Sid      = "AskEksForAssociatedRoles"
        Effect   = "Allow"
        Action   = "eks-auth:AssumeRoleForPodIdentity"
        Resource = local.cluster_arn
      },
    ] : statement if contains(var.sources, "eks-pod-identity")],
  )

  # Who may assume the role of a pod.
  trust = {
    for name, role in var.pod_roles : name => {
      sts = {
        Sid       = "PodroleForThisServiceAccount"
        Effect    = "Allow"
        Principal = { AWS = var.agent_role_arn }
        Action    = ["sts:AssumeRole", "sts:TagSession"]
        Condition = {
          StringEquals = {
            "aws:RequestTag/eks-cluster-name"           = var.cluster_name
            "aws:RequestTag/kubernetes-namespace"       = role.namespace
            "aws:RequestTag/kubernetes-service-account" = role.service_account
          }
        }
      }
      web-identity = {
        Sid       = "TokensOfThisServiceAccount"
        Effect    = "Allow"
        Principal = { Federated = var.oidc_provider_arn }
        Action    = ["sts:AssumeRoleWithWebIdentity"]
        Condition = {
          StringEquals = {
            "${local.issuer}:aud" = "sts.amazonaws.com"
            "${local.issuer}:sub" = "system:serviceaccount:${role.namespace}:${role.service_account}"
          }
        }
      }
      eks-pod-identity = {
        Sid       = "EksForThisServiceAccount"
        Effect    = "Allow"
        Principal = { Service = "pods.eks.amazonaws.com" }
        Action    = ["sts:AssumeRole", "sts:TagSession"]
        Condition = {
          StringEquals = {
            "aws:SourceAccount"                         = var.account_id
            "aws:RequestTag/eks-cluster-name"           = var.cluster_name
            "aws:RequestTag/kubernetes-namespace"       = role.namespace
            "aws:RequestTag/kubernetes-service-account" = role.service_account
          }
        }
      }
    }[role.source]
  }

  # The most that any role of a pod may do, whatever its own policy says.
  boundary_statements = [
    {
      Sid      = "WhatItsPolicyAllows"
      Effect   = "Allow"
      Action   = "*"
      Resource = "*"
    },
    {
      Sid      = "NoRightsOverRights"
      Effect   = "Deny"
      Action   = ["iam:*", "organizations:*", "account:*"]
      Resource = "*"
    },
    {
      Sid      = "NotTheRoleOfAnotherPodOrOfTheNode"
      Effect   = "Deny"
      Action   = ["sts:AssumeRole", "sts:TagSession"]
      Resource = [local.pod_roles, var.agent_role_arn]
    },
    {
      Sid      = "NotTheMetadataOptionsOfNodes"
      Effect   = "Deny"
      Action   = ["ec2:ModifyInstanceMetadataOptions", "ec2:AssociateIamInstanceProfile", "ec2:ReplaceIamInstanceProfileAssociation"]
      Resource = "*"
    },
  ]

  # For the organisation's unit that the cluster's account is in.
  scp_statements = concat([for statement in [
    {
      Sid      = "SessionsOfPodsSayWhoseTheyAre"
      Effect   = "Deny"
      Action   = "*"
      Resource = "*"
      Condition = {
        ArnLike = { "aws:PrincipalArn" = local.pod_roles }
        Null    = { "aws:PrincipalTag/kubernetes-namespace" = "true" }
      }
    },
    # AssumeRoleWithWebIdentity takes no tags.
    ] : statement if !contains(var.sources, "web-identity")],
    [
      {
        Sid      = "RolesOfPodsAreAssumedByPodroleAlone"
        Effect   = "Deny"
        Action   = ["sts:AssumeRole", "sts:TagSession"]
        Resource = local.pod_roles
        Condition = {
          ArnNotLike = { "aws:PrincipalArn" = var.agent_role_arn }
          # EKS assumes them for associations of Pod Identity.
          Bool = { "aws:PrincipalIsAWSService" = "false" }
        }
      },
      {
        Sid       = "InstancesWithImdsv2Alone"
        Effect    = "Deny"
        Action    = "ec2:RunInstances"
        Resource  = "arn:${var.partition}:ec2:*:*:instance/*"
        Condition = { StringNotEquals = { "ec2:MetadataHttpTokens" = "required" } }
      },
      {
        Sid       = "InstancesWithHopLimit1"
        Effect    = "Deny"
        Action    = "ec2:RunInstances"
        Resource  = "arn:${var.partition}:ec2:*:*:instance/*"
        Condition = { NumericGreaterThan = { "ec2:MetadataHttpPutResponseHopLimit" = "1" } }
      },
      {
        Sid       = "CredentialsOfNodesByImdsv2Alone"
        Effect    = "Deny"
        Action    = "*"
        Resource  = "*"
        Condition = { NumericLessThan = { "ec2:RoleDelivery" = "2.0" } }
      },
  ])
}
