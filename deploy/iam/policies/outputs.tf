locals {
  version = "2012-10-17"
}

output "agent" {
  description = "What podrole may do; null where its sources need nothing (web-identity alone)."
  value = length(local.agent_statements) == 0 ? null : jsonencode({
    Version   = local.version
    Statement = local.agent_statements
  })
}

output "trust" {
  description = "The trust policy of each role of a pod."
  value = { for name, statement in local.trust : name => jsonencode({
    Version   = local.version
    Statement = [statement]
  }) }
}

output "boundary" {
  description = "The permission boundary of every role of a pod."
  value       = jsonencode({ Version = local.version, Statement = local.boundary_statements })
}

output "service_control" {
  description = "A service control policy for the cluster's account. An example: read it before you attach it."
  value       = jsonencode({ Version = local.version, Statement = local.scp_statements })
}
