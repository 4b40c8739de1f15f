# The rights of podrole and the roles of pods in IAM. The documents are made in ./policies.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

data "aws_iam_role" "agent" {
  name = var.agent_role_name
}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
}

module "policies" {
  source            = "./policies"
  partition         = local.partition
  region            = data.aws_region.current.name
  account_id        = local.account_id
  cluster_name      = var.cluster_name
  agent_role_arn    = data.aws_iam_role.agent.arn
  sources           = var.sources
  role_arns         = concat(["arn:${local.partition}:iam::${local.account_id}:role${var.pod_role_path}*"], var.other_role_arns)
  extra_tag_keys    = var.extra_tag_keys
  oidc_provider_arn = var.oidc_provider_arn
  pod_role_path     = var.pod_role_path
  pod_roles         = var.pod_roles
}

resource "aws_iam_role_policy" "agent" {
  count  = contains(var.sources, "sts") || contains(var.sources, "eks-pod-identity") ? 1 : 0
  name   = "podrole"
  role   = var.agent_role_name
  policy = module.policies.agent
}

resource "aws_iam_policy" "boundary" {
  name   = "podrole-boundary-${var.cluster_name}"
  policy = module.policies.boundary
}

resource "aws_iam_role" "pod" {
  for_each             = var.pod_roles
  name                 = each.key
  path                 = var.pod_role_path
  assume_role_policy   = module.policies.trust[each.key]
  permissions_boundary = aws_iam_policy.boundary.arn
}

locals {
  attachments = merge([for name, role in var.pod_roles :
    { for arn in role.policy_arns : "${name} ${arn}" => { role = name, policy_arn = arn } }
  ]...)
}

resource "aws_iam_role_policy_attachment" "pod" {
  for_each   = local.attachments
  role       = aws_iam_role.pod[each.value.role].name
  policy_arn = each.value.policy_arn
}
