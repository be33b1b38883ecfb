# The lookup service. A deployment chooses its image; Terraform ignores that change.
#
# The size of an instance follows from docs/serving-performance.md: a lookup takes 58 us of CPU, so the measured core
# answers 1 s / 58 us = 17,200 lookups per second. A vCPU is half a core, and the measurement had no TLS and no network,
# so the estimate is 0.3 of that (as in docs/size-and-cost.md): 5,200 per second and vCPU. The 99th percentile of the
# latency was 68 ms at 0.8 of the capacity, and 262 ms at full capacity. So an instance should serve 4,100 per second.
#
# CPU: 1. The service is one process, which uses one core.
# Concurrency: 100. By Little's law, 4,100 lookups per second of 15 ms (5 ms of them in Bigtable) are 62 in flight,
# close to the 64 connections of the measurement. Cloud Run adds instances at 60 % of the limit (from memory, check), so
# the limit is 62 / 0.6 = 103, rounded.
# Memory: 1 GiB. An idle instance takes 130 MiB. 100 batches of 1,000 predictions of 1 kB in flight take 100 MB, and
# their answers as much.
# None of this was measured in Google Cloud.

locals {
  port            = 8080
  collector_image = "us-docker.pkg.dev/cloud-ops-agents-artifacts/cloud-run-gmp-sidecar/cloud-run-gmp-sidecar:1.2.0"

  environment = merge({
    SERVING_PROJECT     = var.project
    SERVING_INSTANCE    = var.bigtable_instance
    SERVING_APP_PROFILE = var.app_profile

    # Cloud Run itself admits only callers with roles/run.invoker.
    SERVING_AUTH            = "none"
    SERVING_ALLOW_ANONYMOUS = "true"

    # Google's load balancers keep idle connections for 600 s (not verified for Cloud Run). The service must not close
    # them first.
    SERVING_IDLE_SECONDS = "620"
  }, var.settings)
}

resource "google_cloud_run_v2_service" "api" {
  project             = var.project
  location            = var.region
  name                = var.name
  ingress             = var.internal ? "INGRESS_TRAFFIC_INTERNAL_ONLY" : "INGRESS_TRAFFIC_ALL"
  deletion_protection = var.deletion_protection

  template {
    service_account                  = var.service_account
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    max_instance_request_concurrency = 100
    timeout                          = "10s" # above SERVING_DEADLINE_SECONDS, at which the service itself answers 504

    scaling {
      min_instance_count = var.min_instances
      max_instance_count = var.max_instances
    }

    # The service sends requests to Google's APIs only, which the network reaches without the internet.
    vpc_access {
      egress = "ALL_TRAFFIC"

      network_interfaces {
        network    = var.network
        subnetwork = var.subnetwork
      }
    }

    containers {
      name  = "api"
      image = "us-docker.pkg.dev/cloudrun/container/hello" # a placeholder until the first deployment

      ports {
        container_port = local.port
      }

      resources {
        cpu_idle          = false # the service polls the registry also between requests
        startup_cpu_boost = true

        limits = {
          cpu    = "1"
          memory = "1Gi"
        }
      }

      dynamic "env" {
        for_each = local.environment

        content {
          name  = env.key
          value = env.value
        }
      }

      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 240 # the maximum: a new instance may wait for its network for more than a minute

        http_get {
          path = "/readyz"
          port = local.port
        }
      }

      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 3
        failure_threshold = 3

        http_get {
          path = "/healthz"
          port = local.port
        }
      }
    }

    # The collector of Google Managed Prometheus. By default, it reads /metrics on port 8080 every 30 s.
    containers {
      name       = "collector"
      image      = local.collector_image
      depends_on = ["api"]

      resources {
        cpu_idle = false

        limits = {
          cpu    = "1" # with less than 1, Cloud Run allows only one request at a time
          memory = "512Mi"
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [
      client,
      client_version,
      template[0].containers[0].image,
      template[0].labels,
      template[0].revision,
      traffic,
    ]
  }
}
