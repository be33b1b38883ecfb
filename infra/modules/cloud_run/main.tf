# The lookup service. Which image it runs is said by a deployment, and not undone here.
#
# How large an instance is follows from docs/serving-performance.md: a lookup takes 58 us of CPU, so a core as measured
# answers 1 s / 58 us = 17,200 a second. Of that, 0.3 are counted on: a vCPU is half a core, and the measurement had no
# TLS and no network (docs/size-and-cost.md takes the same share). That makes 5,200 a second and vCPU. At 0.8 of what an
# instance can do, the 99th percentile was 68 ms, and at all of it 262: so 4,100 a second.
#
# CPU: 1. One process answers, and uses one core; more lookups need more instances.
# Concurrency: by Little's law, 4,100 lookups a second of 15 ms (5 ms at Bigtable, and the way) are 62 in flight, about
# the number of connections that was measured (64). Cloud Run adds instances at 60 % of the limit (from memory, check),
# so the limit is 62 / 0.6 = 103; let it be 100.
# Memory: 1 GiB. It takes 130 MiB when idle; 100 batches of 1,000 predictions of 1 kB at a time are 100 MB read, and as
# much in answers.
# None of this was measured in Google Cloud.

locals {
  port            = 8080
  collector_image = "us-docker.pkg.dev/cloud-ops-agents-artifacts/cloud-run-gmp-sidecar/cloud-run-gmp-sidecar:1.2.0"

  environment = merge({
    SERVING_PROJECT     = var.project
    SERVING_INSTANCE    = var.bigtable_instance
    SERVING_APP_PROFILE = var.app_profile

    # Cloud Run lets in who has roles/run.invoker, and nobody else.
    SERVING_AUTH            = "none"
    SERVING_ALLOW_ANONYMOUS = "true"

    # Google's front ends keep connections for 600 s (of its load balancers; of Cloud Run not verified): the service
    # must not be the one to cut them.
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
    timeout                          = "10s" # the service itself gives up after SERVING_DEADLINE_SECONDS

    scaling {
      min_instance_count = var.min_instances
      max_instance_count = var.max_instances
    }

    # All that it asks is Google's, and is reached without the internet.
    vpc_access {
      egress = "ALL_TRAFFIC"

      network_interfaces {
        network    = var.network
        subnetwork = var.subnetwork
      }
    }

    containers {
      name  = "api"
      image = "us-docker.pkg.dev/cloudrun/container/hello" # until the first deployment; answers at any path

      ports {
        container_port = local.port
      }

      resources {
        cpu_idle          = false # it polls the registry, whether or not anybody asks
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
        failure_threshold = 240 # the most there may be: a new instance may wait for its network for a minute and more

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

    # Google Managed Prometheus: without a configuration of its own, it reads /metrics at port 8080 every 30 s.
    containers {
      name       = "collector"
      image      = local.collector_image
      depends_on = ["api"]

      resources {
        cpu_idle = false

        limits = {
          cpu    = "1" # less than 1 would allow one request at a time only
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
