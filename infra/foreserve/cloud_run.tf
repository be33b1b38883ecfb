# The lookup service. A deployment chooses its image; Terraform ignores that change.
#
# The size of an instance follows from docs/performance.md, on the safe side: a lookup takes 58 us of CPU, so the core
# answers 1 s / 58 us = 17,200 lookups per second. A vCPU is half a core, and the measurement had no TLS and no network,
# so the estimate is 0.3 of that (as in docs/size-and-cost.md): 5,200 per second and vCPU. The 99th percentile of the
# latency was 68 ms at 0.8 of the capacity, and 262 ms at full capacity. So an instance should serve 4,100 per second.
#
# CPU: 1. The service is one process, which uses one core.
# Concurrency: 60. By Little's law, 4,100 lookups per second of 15 ms (5 ms of them in Bigtable) are 62 in flight, close
# to the 64 connections of the measurement. Cloud Run adds instances at 60 % of the limit or of the CPU
# (https://docs.cloud.google.com/run/docs/about-instance-autoscaling). The CPU of an instance includes that of the idle
# collector and stays below, so the limit is what adds instances: at 36 in flight.
# Memory: 1 GiB. An idle instance takes 130 MiB. 100 batches of 1,000 predictions of 1 kB in flight take 100 MB, and
# their answers as much.
# None of this was measured in Google Cloud.

locals {
  port            = 8080
  collector_image = "us-docker.pkg.dev/cloud-ops-agents-artifacts/cloud-run-gmp-sidecar/cloud-run-gmp-sidecar:1.3.0"
  callers_folder  = "/etc/foreserve"

  serving_environment = merge({
    SERVING_PROJECT     = var.project
    SERVING_INSTANCE    = google_bigtable_instance.predictions.name
    SERVING_APP_PROFILE = google_bigtable_app_profile.serving.app_profile_id

    # Cloud Run itself admits only callers with roles/run.invoker.
    SERVING_AUTH            = "none"
    SERVING_ALLOW_ANONYMOUS = "true"

    # Google's load balancers keep idle connections for 600 s (not verified for Cloud Run). The service must not close
    # them first.
    SERVING_IDLE_SECONDS = "620"
    }, var.api.callers_secret == null ? {} : {
    SERVING_CALLERS_FILE = "${local.callers_folder}/callers.json"
  }, var.api.settings)
}

resource "google_cloud_run_v2_service" "api" {
  project             = local.project
  location            = var.region
  name                = "${var.name}-api"
  ingress             = "INGRESS_TRAFFIC_ALL"
  deletion_protection = var.deletion_protection

  # Instances that are kept are those of the service: divided among revisions like the traffic, so that a new revision
  # has its share before it gets more, and changed without a new revision.
  scaling {
    min_instance_count = var.api.min_instances
  }

  template {
    service_account                  = google_service_account.api.email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    max_instance_request_concurrency = 60
    timeout                          = "10s" # above SERVING_DEADLINE_SECONDS, at which the service itself answers 504

    scaling {
      max_instance_count = var.api.max_instances
    }

    # The network reaches Google's APIs without the internet. An issuer's keys and an external collector need the
    # internet, which requests reach without the network.
    vpc_access {
      egress = var.api.internet ? "PRIVATE_RANGES_ONLY" : "ALL_TRAFFIC"

      network_interfaces {
        network    = google_compute_network.network.id
        subnetwork = google_compute_subnetwork.subnetwork.id
      }
    }

    dynamic "volumes" {
      for_each = var.api.callers_secret == null ? [] : [var.api.callers_secret]

      content {
        name = "callers"

        secret {
          secret = volumes.value

          items {
            path    = "callers.json"
            version = "latest"
          }
        }
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
        for_each = local.serving_environment

        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "volume_mounts" {
        for_each = var.api.callers_secret == null ? [] : [var.api.callers_secret]

        content {
          name       = "callers"
          mount_path = local.callers_folder
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

  depends_on = [google_secret_manager_secret_iam_member.api_callers] # without it, no revision starts
}

# Cloud Run logs the URL of every request, and the URL of a lookup contains the entity id. At thousands of lookups per
# second, this log would also be the largest part of the bill. Requests that were refused or failed stay in the log:
# Cloud Run itself may have answered them, and then no other log has them.
resource "google_logging_project_exclusion" "requests" {
  project     = local.project
  name        = "${google_cloud_run_v2_service.api.name}-requests"
  description = "Answered requests of ${google_cloud_run_v2_service.api.name}: their URLs contain entity ids"

  filter = join(" AND ", [
    "logName=\"projects/${var.project}/logs/run.googleapis.com%2Frequests\"",
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${google_cloud_run_v2_service.api.name}\"",
    "(httpRequest.status<400 OR httpRequest.status=404)", # 404: the entity has no prediction
  ])
}
