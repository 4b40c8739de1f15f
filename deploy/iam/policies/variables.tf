variable "partition" {
  description = "aws, aws-cn, aws-us-gov, …"
  type        = string
  default     = "aws"
}

variable "region" {
  description = "The cluster's region."
  type        = string
}

variable "account_id" {
  description = "The cluster's account."
  type        = string
  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account has twelve digits."
  }
}

variable "cluster_name" {
  description = "As podrole's --cluster-name: the session tag eks-cluster-name."
  type        = string
}

variable "agent_role_arn" {
  description = "The role that podrole has: the nodes' instance role, or one of its own (IRSA)."
  type        = string
}

variable "sources" {
  description = "As podrole's --sources. Rights are given for these alone."
  type        = set(string)
  default     = ["sts"]
  validation {
    condition     = length(setsubtract(var.sources, ["sts", "web-identity", "eks-pod-identity"])) == 0
    error_message = "sources may be sts, web-identity and eks-pod-identity."
  }
}

variable "role_arns" {
  description = "What podrole may assume (source sts): roles, or patterns of a path of their own. Never a bare *."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for arn in var.role_arns : can(regex("^arn:[^:*]+:iam::[0-9]{12}:role/[^*]+", arn))])
    error_message = "Name roles of an account, or a path: arn:aws:iam::123456789012:role/pods/*."
  }
}

variable "extra_tag_keys" {
  description = "Session tags beside the six of EKS Pod Identity: of --session-tag-label and of RoleAssociations."
  type        = list(string)
  default     = []
}

variable "oidc_provider_arn" {
  description = "The cluster's OIDC provider in IAM (source web-identity)."
  type        = string
  default     = ""
}

variable "pod_roles" {
  description = "Roles of pods, by a name of yours: whose they are."
  type = map(object({
    namespace       = string
    service_account = string
    source          = string
  }))
  default = {}
  validation {
    condition = alltrue([for role in values(var.pod_roles) :
    contains(["sts", "web-identity", "eks-pod-identity"], role.source)])
    error_message = "A role's source is sts, web-identity or eks-pod-identity."
  }
}

variable "pod_role_path" {
  description = "The path in IAM that all roles of pods have, so that policies can tell them."
  type        = string
  default     = "/pods/"
  validation {
    condition     = can(regex("^/([^*]+/)+$", var.pod_role_path))
    error_message = "A path of their own: /pods/."
  }
}
