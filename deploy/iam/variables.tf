variable "cluster_name" {
  description = "As podrole's --cluster-name."
  type        = string
}

variable "agent_role_name" {
  description = "The role that podrole has: the nodes' instance role, or one of its own."
  type        = string
}

variable "sources" {
  description = "As podrole's --sources."
  type        = set(string)
  default     = ["sts"]
}

variable "other_role_arns" {
  description = "Roles beside this module's that podrole may assume: of other accounts, or from before it."
  type        = list(string)
  default     = []
}

variable "extra_tag_keys" {
  description = "Session tags beside the six of EKS Pod Identity."
  type        = list(string)
  default     = []
}

variable "oidc_provider_arn" {
  description = "The cluster's OIDC provider in IAM, for source web-identity."
  type        = string
  default     = ""
}

variable "pod_role_path" {
  description = "The path in IAM that all roles of pods have."
  type        = string
  default     = "/pods/"
}

variable "pod_roles" {
  description = "Roles of pods, by name: whose they are, by which source, and the policies attached."
  type = map(object({
    namespace       = string
    service_account = string
    source          = optional(string, "sts")
    policy_arns     = optional(list(string), [])
  }))
  default = {}
}
